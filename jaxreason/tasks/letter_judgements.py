"""Words around a letter that judge it: that call it right or wrong, deny it, or only mention it.

Every pattern takes linear time: repetitions are possessive or bounded.
"""

import re

from jaxreason.tasks.letter_languages import FOREIGN_NOT, FOREIGN_WRONG
from jaxreason.tasks.letter_patterns import CLOSE

# A whole option of a list that is called wrong, or right: by its first words, its last word, or a word apart.
_THIS = r"(?:this|it|that)(?:\s+(?:option|choice|statement|answer|one|claim))?"
_OF_IT = (
    rf"^\W*{_THIS}(?:'s|\s+is|(?=\s+isn't))"
    r"(?:\s+(?:clearly|also|therefore|indeed|the))?"
)
_APART = r"(?<=\W)[(:|—–-]\W*"
_THEN = r"(?=\s*[*_]*(?:[.,;:)|—–-](?!\w)|$)|\s+(?:because|since|as|due)\b)"
VERDICT_AGAINST = re.compile(
    r"^\W*(?:wrong|incorrect|false|no|not|impossible|invalid)\b|[✗✘❌✕]|(?:\b(?:wrong|incorrect|false"
    r"|no|impossible|invalid|inapplicable)|\b(?:not|n't)\s+(?:\w+\s+)?\w+|n't\s+\w+)\W*$"
    rf"|{_OF_IT}\s+(?:(?:wrong|incorrect|false|impossible|invalid)|(?:not|isn't)\s+(?:correct|right|true))\b"
    rf"|{_APART}(?:wrong|incorrect|false|not\s+correct){_THEN}",
    re.IGNORECASE,
)
VERDICT_FOR = re.compile(
    r"^\W*(?:correct|true|right|yes)\b|[✓✔✅]|\b(?:correct|true|right|yes)\W*$"
    rf"|{_OF_IT}\s+(?:correct|right|true){_THEN}|{_APART}(?:correct|true){_THEN}",
    re.IGNORECASE,
)
# The same after "Option B", in a list without letters at the heads of its lines.
CALLED_WRONG = re.compile(
    rf"[)*_]*\s?[:—–-]\W*{_THIS}(?:'s|\s+is)"
    r"(?:\s+(?:clearly|also|therefore))?\s+(?:wrong|incorrect|false|not\s+(?:correct|right|true))\b",
    re.IGNORECASE,
)
# Words just before a letter that a reply mentions without choosing it.
DENIED = re.compile(
    rf"(?:\b(?:not|nicht|niet|pas|no\s+es|non\s+è|não\s+é|{FOREIGN_NOT}|cannot|neither|nor|except|than|instead\s+of"
    r"|compared\s+(?:to|with)|unlike|besides|against|over)|n't"
    r"|\b(?:all|any\w*|every\w*)\s+but|\b(?:exclud|eliminat|reject|discard|dismiss|rul|cross)\w*"
    r"(?:\s+out)?)\s+(?:be\s+)?(?:(?:the|la|die|a)\s+)?(?:(?:answer\s+)?(?:answer|option|choice|letter)s?\s+)?"
    r"[\s(*'\"`]*$"
    # Choices that are not made: "I would not choose B", "I doubt that B", "at first I picked B".
    r"|(?:\b(?:not|never|cannot|almost|nearly|doubt|tempt\w+\s+to|(?:used\s+to|(?:w|c)ould\s+have)(?=\s+be)"
    r"|no\s+longer(?=\s))|n't)\s+(?:(?:choose|chose|pick|picked|select\w*|prefer|go\s+(?:with|for)|say|think"
    r"|believe|be(?:en)?|that)\s+)?(?:that\s+)?(?:it's\s+|it\s+is\s+)?(?:(?:option|choice|answer)\s+)?[(*'\"`]*$"
    r"|\b(?:at\s+first|initially|originally),?\s+(?:i\s+)?(?:picked|chose|said|thought)\s+(?:it\s+was\s+)?[(*'\"`]*$"
    r"|不(?:是|选)[(\s]*$",
    re.IGNORECASE,
)
# Words before letters that are named together, of which none is chosen: "either B", "none of A, B".
TOGETHER = re.compile(
    r"\b(?:either|both|ni|weder|sowohl|(?:none|one|some|any|all|most)\s+of)\s+(?:options?\s+)?"
    r"(?:[(*]*(?-i:[A-Z])\b[)*]*\s*+(?:(?:,|and|or|und|oder)\s*+){0,2}){0,9}[(*]*$",
    re.IGNORECASE,
)
# What others choose: "many would say B".
OTHERS_SAY = re.compile(
    r"\b(?:some|one|you|they|many|people|others|someone)\s+(?:\w+\s+){0,2}"
    r"(?:say|think|believe|claim|argue|guess|assume|choose|pick)\s+(?:that\s+)?(?:it's\s+|it\s+is\s+)?[(*'\"]*$",
    re.IGNORECASE,
)
# Words just after it that say the letter is wrong.
REFUTED = re.compile(
    r"[)*'\"”`\s\]}$]*(?:\([^()\n]{0,80}\)\s*)?\b(?:"
    r"(?:is|are|was|were|seems|looks|would\s+be|must\s+be)"
    r"(?:n't\b|(?:\s+(?:also|clearly|therefore|thus|obviously|both|all|just|simply|definitely))?"
    r"\s+(?:wrong|incorrect|false|not|impossible|invalid|ruled\s+out|excluded|eliminated|out\b"
    r"|too\b|irrelevant|unlikely|misleading|never|inapplicable|infeasible|redundant))"
    r"|(?:is|was)\s+(?:only\s+)?(?:partially|partly|hardly|almost|nearly)\s+(?:correct|right|true)\b"
    r"|(?:ist|is|est|es|è|é)\s+(?:falsch|nicht|inkorrekt|onjuist|fout|niet|fauss?e?|incorrecta|falsa|incorreta)\b"
    r"|(?:n'est\s+pas|no\s+es|non\s+è|não\s+é)\b"
    r"|(?:can(?:no|')t|doesn't|does\s+not|do\s+not|don't|did\s+not|isn't|won't|will\s+not|fails?"
    r"|contradicts?|violates?|ignores?|contains?\s+an?\s+(?:error|mistake)|lacks?|misses|confuses)\b)"
    r"|[)*'\"”`\s\]}$]*[:—–-]\s*(?:wrong|incorrect|false|no|not|impossible|invalid)\b"
    r"(?!(?<=not)\s+(?:option\s+|choice\s+)?[(*]*(?-i:[A-Z])\b)"
    r"|[)*]*[ \t]?[✗✘❌✕]"
    rf"|[)*_\s]*(?:{FOREIGN_WRONG})",
    re.IGNORECASE,
)
# Words just before an announcement that only considers the letter, or reports somebody else's choice.
CONSIDERED = re.compile(
    r"(?:\b(?:if|whether|unless|suppos\w+|assum\w+|imagin\w+|why|how)\s+(?:is\s+)?(?:that\s+)?"
    r"|(?:(?:\A|\n)[\W_]{0,9}|[.?!;:]\s+|\b(?:and|or|but|so|then|now|well|what)\s+)is\s+"
    r"|\b(?:some|one|you|they|many|people|others|someone)\s+(?:\w+\s+){0,2}"
    r"(?:say|think|believe|claim|argue|guess|assume)\s+(?:that\s+)?"
    r"|\b(?:wrong|incorrect|false|other|another|no|not|previous|initial|first)[^\S\n]+"
    r"|n't[^\S\n]+)(?:(?:the|your|our|an?)\s+)?(?:(?:final|correct|right|best)\s+)?$",
    re.IGNORECASE,
)
# A sentence up to a letter that names one without choosing it: "the incorrect one is", "if the next step is".
OTHER_SUBJECT = re.compile(
    r"(?:\b(?:wrong|incorrect|false|if|whether|unless|suppos\w+|assum\w+|thought|eliminat\w+|exclud\w+|no|not|never"
    r"|cannot|could|may|might)\b|n't\b)[^.,!?;:\n]{0,60}\bis\s+(?:the\s+)?[(*'\"`]*$",
    re.IGNORECASE,
)
# Words after an A that show it is a letter, since no article precedes them. "an" precedes vowels, so "A is" has none.
ARTICLE = re.compile(
    r"\s+(?![aeio]|because\b|but\b|by\b|since\b|so\b|due\b|for\b|from\b|which\b|where\b|when\b"
    r"|while\b|with\b|was\b|would\b|will\b|then\b|than\b|that\b|this\b|the\b|they\b|to\b|not\b"
    r"|rather\b|per\b|given\b|holds\b|works\b|matches\b|must\b|may\b|might\b|can\b|cannot\b|could\b"
    r"|should\b|has\b|does\b|were\b|contradicts\b|follows\b|says\b|yes\b|under\b|unless\b|here\b"
    r"|fits\b|fails\b|seems\b|makes\b|violates\b|we\b|both\b|definitely\b|clearly\b|certainly\b"
    r"|surely\b|no\b|though\b|yet\b|still\b|below\b|versus\b|vs\b|hands\s+down|needs\b|gives\b"
    r"|means\b|satisfies\b|describes\b|states\b|leads\b|requires\b|takes\b|without\b|like\s+(?:i|we)\b"
    r"|whereas\b|hence\b|thus\b|therefore\b|considering\b|based\b|unlike\b|compared\b|whose\b|please\b|probably\b|despite\b|regardless\b|beyond\b|provided\b)[a-z]"
)
PRONOUN = re.compile(r"\s+(?!is\b|as\b|and\b|or\b|not\b|because\b|since\b|rather\b)[a-z]")
ASKED = re.compile(rf"(?:{CLOSE}|\\[)\]])*+\s?\?(?!\s*(?i:yes)\b)")
