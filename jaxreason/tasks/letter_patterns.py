r"""The words and marks around the letter of a choice, as patterns.

Every pattern takes linear time: repetitions are possessive or bounded. `Labels` has the patterns that depend on the
letters of an example.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from jaxreason.tasks.letter_languages import FOREIGN_AND, FOREIGN_LEAD, FOREIGN_RIGHT, FOREIGN_WRONG

# Letters and digits of other widths and shapes, and apostrophes; each stands for one plain character.
_SHAPES = [*range(0x24B6, 0x24EA), *range(0xFF01, 0xFF5F), *range(0x1D400, 0x1D800)]
_PLAIN = {ord("’"): "'"} | {
    code: plain
    for code in _SHAPES
    if len(plain := unicodedata.normalize("NFKC", chr(code))) == 1 and plain.isascii()
}
# Marks that may open before a letter: brackets, quotes, bold, `\text{`, `\boxed{`, `\(`.
WRAP = (
    r"(?:[\s*_`'\"“„‘«$(\[{<>~]"
    r"|\\(?:text\w*|math\w*|boxed|fbox|boldsymbol|bm|underline|emph)\s*\{|\\[(\[])*+"
)
# Marks that may close after it.
CLOSE = r"[*_`'\"”’»$)\]}>]"
# In Turkish "it is B" is "B'dir".
END = r"(?![A-Za-z0-9]|['’](?!d[iı]r\b)[A-Za-z]|-[A-Za-z]|(?<=\d)[.,]\d)"

_VERB = (
    r"(?:\b(?:is|are|was|be|being|becomes|remains|equals|lautet|ist|wäre|es|est|è|é)\b"
    r"|\b(?:would|will|must|should|has\s+to|can\s+only|could\s+only|seems\s+to|appears\s+to"
    r"|turns\s+out\s+to)\s+be\b)"
)
_ADVERB = (
    r"(?:\s+(?:therefore|thus|hence|clearly|indeed|definitely|certainly|most\s+likely|likely"
    r"|probably|simply|then|still|obviously|actually|in\s+fact|just|only|also))?"
)
_SEPARATOR = (
    rf"(?:{CLOSE}*+\s*+(?:(?:{_VERB}){_ADVERB}\s*+[:：]?|[:=：→]|->|=>|[-–—](?=\s))"
    rf"|{CLOSE}++[ \t]*+|(?P<newline>[ \t]*+\n))"
)
_ABOUT = r"(?:\s+(?:to|for|from|among|of|here|in|based|that|which)\b[^.\n:?]{0,80}?)?"
_ANSWER = (
    r"(?:(?:answers?(?:_(?:letter|choice|option))?|ans\.?|solution|antwort(?:en)?|antwoord(?:en)?|lösung|respuesta|réponse|risposta|resposta)\b"
    r"(?:\s+(?:correcta|correcte|corretta|correta)\b)?"
    r"|(?:opción|opção|opzione|option|alternativa)\s+(?:correcta|correcte|corretta|correta)\b)"
)
_NOUN = r"(?:answer|option|choice|statement|alternative|letter|one|action|response|selection|pick|aussage)"
_BEST = (
    r"(?:\b(?:correct|right|best|true|appropriate|suitable|valid|accurate|my|final|selected|chosen|richtige|korrekte)"
    rf"[\s_]+(?:answer\s+)?{_NOUN}s?\b|\bmy\s+(?:best\s+|final\s+|educated\s+)?(?:guess|bet|vote)\b)"
)
LEAD = (
    rf"(?:(?:(?<![^\W_]){_ANSWER}|{_BEST}){_ABOUT}{_SEPARATOR}|{FOREIGN_LEAD}|\bfinal\s+answer\s"
    r"|\bans\b(?:\.|(?=\s*+[(\[]))|\b(?:richtig|korrekt)\s+ist\b)"
)
# A noun before a letter, or the article that Romance languages put there: "la B", "a C".
NAMED = (
    r"(?:(?:(?:the|la|die|a)\s+|l')?(?:(?:option|choice|letter|statement|answer|alternative)s?|opción|opção"
    r"|opzione|letra|lettre|lettera|antwort|antwoord|réponse|respuesta|resposta|risposta|aussage)\b\s*[:#]?"
    r"|(?-i:la|a) (?=(?-i:[A-HJ-Z])(?!\w)))?"
)
_BEST_ONE = (
    r"(?:actually\s+)?(?:(?:correct|right|best|true|final)\s+)?(?:answer|option|choice|one)\b"
)
# The result of a second look.
IT_IS = (
    r"(?:it's|it\s+(?:is|was|should\s+be|must\s+be|has\s+to\s+be|should\s+have\s+been)|make\s+(?:that|it))"
    r"(?:\s+(?:actually|really|in\s+fact|instead|rather|clearly|indeed))?"
)
# Verbs of choosing, and words that draw a conclusion.
_CHOOSE = (
    r"\b(?:choose|chose|pick|select|selected|prefer|go\s+(?:with|for)|went\s+with|going\s+with"
    r"|opt\s+for|vote\s+for|settle\s+on|say|think|believe|guess|it\s+is|it's|it\s+(?:must|has\s+to"
    r"|should)\s+be)\b(?:\s+(?:that\s+)?(?:it's|it\s+is))?"
)
_CONCLUDE = (
    r"\b(?:so|hence|thus|therefore|leaves|leaving|conclusion|conclude|only)\b[\s,:]*+"
    r"(?:us\s+with|me\s+with|only|with)?"
)
RIGHT = (
    r"(?:the\s+|clearly\s+|indeed\s+|therefore\s+|thus\s+|also\s+|our\s+|my\s+|only\s+){0,2}"
    r"(?:correct|right|true|valid|best|(?:final\s+)?answer|solution|one|winner"
    r"|choice|option|statement|action|richtig|korrekt|juiste?|correct[ae]|correta|corretta|vraie?)\b"
)

_WORKS = r"\b(?:works|holds|fits|does\s+work|satisfies\s+(?:all|every|the))\b(?!\s+(?:only|if|but|when)\b)"
# "The choice that fits is", unless it is one that does not; "the answer I get is", "the correct sequence is".
_THE_ONE = (
    r"(?:\b(?:choice|option|one|answer|statement|alternative)\s+(?:that\s+|which\s+)?"
    r"(?:i\s+(?:would\s+)?(?:get|got|obtain(?:ed)?|find|found|choose|chose|pick(?:ed)?|select(?:ed)?)"
    r"|(?<=that )is\s+(?:true|correct|right|best|valid))\s+is"
    r"|\b(?:correct|right|true|best)\s+[a-z]{3,}(?:\s+[a-z]{3,})?\s+is|\b(?:odd\s+one\s+out|the\s+letter)\s+is"
    r"|\b(?:choice|option|one|answer|statement|letter|alternative|action)\s+(?:that|which)\s+"
    r"(?:(?!(?:not?|never|cannot|wrong|incorrect|false|fails?|least|worst|violates|contradicts|can|could|may"
    r"|might|if|unless|seems?|looks|appears|would|say|think|eliminated?|excluded?|is)\b|\w+n't)[\w'-]+[\s,]+){1,10}"
    r"(?:is|must\s+be))"
)

CLOSED = re.compile(rf"\s*(?:{CLOSE}|[.:,;!]|\\[)\]]|$)|[ \t]*\n")
SENTENCE_END = re.compile(rf"(?:{CLOSE}|\\[)\]])*\s*(?:[.!;]|$|\n)")
SHORT_LINE = re.compile(r"^[^\n]{1,80}$", re.MULTILINE)
BULLET = r"[ \t]*+(?:[-+•>#*]+[ \t]+)?"
# Words before a capital letter that belongs to a name.
_NAMES = (
    "Mr. ",
    "Mrs. ",
    "Ms. ",
    "Dr. ",
    "Prof. ",
    "itamin ",
    "epatitis ",
    "ppendix ",
    "Section ",
    "Figure ",
    "Table ",
)
# "and" and "or", also in German, French and Romance languages.
_AND = r"or|and|oder|und|als\s+auch|ou|et|o|y|e|noch|ni"
_GAP = rf"(?:{CLOSE}|\\[)\]])*+\s*+"
_OPEN = r"(?:[(*'\"`“$\[_]|\\[(\[]|\\text\w*\{)*+"


def plain_characters(text: str) -> str:
    """Returns a text of the same length with plain letters for wide, bold and circled ones."""
    return text if text.isascii() else text.translate(_PLAIN)


@dataclass(frozen=True)
class Labels:
    """The labels of an example's choices, each one character, and the patterns that contain them."""

    letters: tuple[str, ...]

    @cached_property
    def any_case(self) -> str:
        """A character class of the labels, capital or small."""
        both = dict.fromkeys("".join(x + x.lower() for x in self.letters))
        return f"[{re.escape(''.join(both))}]"

    @cached_property
    def digits(self) -> bool:
        """Whether the labels are digits."""
        return all(letter.isdigit() for letter in self.letters)

    @cached_property
    def capital(self) -> str:
        """A character class of the labels."""
        return f"[{re.escape(''.join(self.letters))}]"

    @cached_property
    def telling(self) -> str:
        """A label, also a small one that is no word or stands in brackets, `(a)`."""
        small = "".join(letter.lower() for letter in self.letters if letter not in "AEIOUYaeiouy")
        known = f"[{re.escape(''.join(dict.fromkeys(''.join(self.letters) + small)))}]"
        return rf"{known}|(?<=[(\[]){self.any_case}(?=[)\]])"

    @cached_property
    def lead(self) -> re.Pattern[str]:
        """An announcement up to where the letter, or the text of a choice, begins."""
        return re.compile(rf"(?:{LEAD})\s*+(?:{WRAP}{NAMED})(?P<wrap>{WRAP})", re.IGNORECASE)

    @cached_property
    def letter(self) -> re.Pattern[str]:
        """A label that stands alone, in any case."""
        return re.compile(rf"({self.any_case}){END}")

    @cached_property
    def capital_letter(self) -> re.Pattern[str]:
        """A label that stands alone."""
        return re.compile(rf"({self.capital}){END}")

    @cached_property
    def result(self) -> re.Pattern[str]:
        """A letter that may be the result of a second look: "it is C", "C is the right answer"."""
        named = rf"(?<![A-Za-z0-9'.])(?P<named>{self.capital}){END}{_GAP}(?i:is\s+(?:the|my)\s+{_BEST_ONE})"
        it = rf"(?i:\b{IT_IS}\s*{WRAP}{NAMED}){WRAP}(?P<it>{self.capital}){END}"
        return re.compile(f"{named}|{it}")

    @cached_property
    def instead(self) -> re.Pattern[str]:
        """What follows "that is wrong" if it was not meant as a reason: "it should be C", "C is correct"."""
        named = rf"{WRAP}(?i:{NAMED}){WRAP}(?P<named>{self.capital}){END}{_GAP}(?i:is\s+{RIGHT})"
        it = rf"(?i:{IT_IS}\s*{WRAP}{NAMED}){WRAP}(?P<it>{self.capital}){END}"
        return re.compile(rf"[\s,.:;!…)—–-]*+(?i:(?:so|rather|instead)\b[\s,]*+)?(?:{it}|{named})")

    @cached_property
    def affirmed(self) -> re.Pattern[str]:
        """A letter that is called right, or is chosen, or is concluded."""
        right = rf"(?<![A-Za-z0-9'.])({self.telling}){END}{_GAP}(?i:(?:{_VERB})\s+{RIGHT}|{_WORKS}|\?\s*yes\b)"
        labelled = rf"(?i:\b(?:correct|right|richtig)\s*:\s*{WRAP}{NAMED}){WRAP}(?!\d)({self.capital}){END}"
        marked = (
            rf"(?m:^)[ \t]*+(?:[-*]\s)?(?:[✓✔✅☑]\ufe0f?|\[[xX]\])[ \t]*{WRAP}({self.capital}){END}"
        )
        chosen = rf"(?i:{_CHOOSE}\s*{WRAP}{NAMED}){WRAP}({self.telling}){END}"
        concluded = rf"(?i:{_CONCLUDE}\s*{WRAP}{NAMED}){WRAP}({self.capital}){END}(?={SENTENCE_END.pattern})"
        bracketed = rf"(?i:{_CONCLUDE}\s*{WRAP}{NAMED}){WRAP}(?<=[(\[])({self.any_case})(?=[)\]]{SENTENCE_END.pattern})"
        foreign = rf"(?<![A-Za-z0-9'.])({self.capital}){END}{_GAP}(?i:{FOREIGN_RIGHT})"
        fits = rf"(?i:{_THE_ONE}\s*{WRAP}{NAMED}){WRAP}(?!\d)({self.telling}){END}(?={SENTENCE_END.pattern})"
        return re.compile(
            f"{right}|{labelled}|{marked}|{chosen}|{concluded}|{bracketed}|{fits}|{foreign}"
        )

    @cached_property
    def mention(self) -> re.Pattern[str]:
        """A letter after "option", "choice" or "answer"."""
        named = r"(?i:\b(?:option|choice|letter|statement|answer|alternative)s?\b)[:#]?"
        return re.compile(rf"{named}{WRAP}({self.telling}){END}")

    @cached_property
    def lone(self) -> re.Pattern[str]:
        """A capital letter that stands alone."""
        name = "".join(f"(?<!{word})" for word in _NAMES)
        return re.compile(
            rf"(?<![A-Za-z0-9'’.\\°])(?<!\w[-/])(?<!° ){name}({self.capital}){END}(?!\.[A-Z]\b)"
        )

    @cached_property
    def bare_line(self) -> re.Pattern[str]:
        """A whole line that contains only a letter."""
        closed = rf"(?:{CLOSE}|[.:,\s]|\\[)\]])*+"
        return re.compile(rf"{BULLET}{WRAP}(?i:{NAMED}){WRAP}({self.any_case}){closed}")

    @cached_property
    def head(self) -> re.Pattern[str]:
        """A line that begins with a letter as an item of a list or a row of a table does: `B. text`, `| B | text |`."""
        wrap = r"[*_`'\"“${]*+(?:\\text\w*\{)?+"
        return re.compile(
            rf"^(?:{BULLET}{wrap}(?:[(\[]({self.any_case})[)\]]|({self.any_case})(?:[*_]*\)|[*_]*[.:](?=[\s*_])"
            rf"|[*_]*[ \t]+[-–—][ \t]|,(?=[ \t]+(?:because|since|as|for)\b)))"
            rf"|\|[ \t]+[*_(]*({self.any_case})(?:[*_).:]*[ \t]+\||[*_]*[).:][*_]*[ \t])(?=.*\|[ \t]*$))"
            rf"(?P<text>.*)$",
            re.MULTILINE,
        )

    @cached_property
    def inline(self) -> re.Pattern[str]:
        """An option of a list that is written in one line: `A) text`, `(B) text`."""
        return re.compile(rf"(?<![\w(])\(?({self.capital})[).:](?=\s*\S)")

    @cached_property
    def joined(self) -> re.Pattern[str]:
        """Text after a letter: more letters that are named together with it."""
        link = rf"(?:,\s*)?\(?(?:\b(?:{_AND})\b|[/|&+]|{FOREIGN_AND})\s*+(?:(?:maybe|possibly|perhaps|even|also)\s+)?"
        clause = (
            rf"(?!{_GAP}(?i:is|was|isn't|would|cannot|can't|does|doesn't|fails|has|contradicts)\b)"
        )
        other = rf"{_OPEN}(?i:(?:option|choice)\s+)?{_OPEN}{self.any_case}{END}{clause}"
        judged = rf"(?!(?:{FOREIGN_AND}{self.capital}){{0,9}}{_GAP}(?i:{FOREIGN_WRONG}))"
        listed = rf",\s*+{_OPEN}{self.capital}{END}(?!{_GAP}(?!and\b|or\b)[a-z]){judged}"
        return re.compile(rf"(?:{_GAP}(?:{link}{other}|{listed}))++")

    @cached_property
    def joins(self) -> re.Pattern[str]:
        """Text before a letter: other letters that are named together with it."""
        link = rf"(?:(?:,\s*)?(?:\b(?:{_AND})\b|[/|&+]|{FOREIGN_AND})\s*|,\s*)"
        named = r"(?i:(?:option|choice)\s+)?"
        return re.compile(rf"(?<![A-Za-z0-9'])({self.any_case}){_GAP}{link}{_OPEN}{named}{_OPEN}$")


@lru_cache(maxsize=64)
def labels_of(letters: Sequence[str]) -> Labels:
    """Returns the patterns of these labels, which are compiled once."""
    return Labels(tuple(letter.upper() for letter in letters))
