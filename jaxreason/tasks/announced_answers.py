r"""Answers that a reply announces in prose: "the final answer should be 144".

Only a statement counts. A question, a guess ("maybe the answer is 5"), a thought that was given up ("I thought the
answer is 5") and a remark on the answer's form ("the answer should be in the form \(p/q\)") announce nothing.
"""

import re

from jaxreason.tasks.reply_text import is_placeholder

MOST_LOOKED_AT = 100  # Number of announcements that are read, counted from the end.
LONGEST = 600  # Characters of a line that are read on either side of an announcement.
ANNOUNCEMENT = re.compile(
    r"(?i)\banswers?(?:\s*\([^()\n]{0,40}\))?(?:\s+to\s+(?:the|this)\s+(?:problem|question))?"
    r"(?:\s+(?:is|are|becomes|equals|(?:should|would|must|will|has\s+to)\s+(?:then\s+|thus\s+)?be"
    r"|(?:comes|turns)\s+out\s+(?:to\s+be|as))(?!\w)|\s{0,20}\*{0,4}\s{0,20}[:=])[\s:*]*"
    r"|<answer>\s*"
    # A heading with the value below it.
    r"|(?m:^)[ \t#*]{0,12}(?:the\s+)?(?:final\s+)?answer[ \t*]{0,9}\n[\s*]{0,9}(?=[-$\\\d])"
    r"|\u7b54\u6848\s*(?:\u5e94\u8be5)?[\u662f\u4e3a:\uff1a=][\s:\uff1a*]*"  # In Chinese.
)
# The rest of a total at the end of a reply: "So we get a total of 36 ways."
TOTAL = re.compile(
    r"(?i)\b(?:so|thus|hence|therefore|altogether|finally|in\s+total)\b[^.\n]{0,80}?"
    r"\b(?:a|the)\s+(?:grand\s+)?total\s+(?:of|is)\s+"
)
# Words before an announcement in its sentence that cancel it.
DOUBT = re.compile(
    r"(?i)\b(?:maybe|perhaps|possibly|probably|if|whether|unless|suppos\w*|assum\w*|might|could"
    r"|thought|guess\w*|earlier|previous(?:ly)?|expect\w*|wrong|incorrect|not|no|would\s+mean|say)\b"
    r"|\u53ef\u80fd|\u4e5f\u8bb8|\u6216\u8bb8|\u5982\u679c|\u5047\u8bbe|\u82e5|\u731c|\u4ee5\u4e3a|\u9519|\u4e0d"
)
# First words of phrases that are not a value.
NO_VALUE = re.compile(
    r"(?i)(?:not|n't|in|of|as|given|expressed|written|expected|supposed|likely|probably|possibly"
    r"|between|either|more|less|greater|at|correct|right|wrong|incorrect|to|what|which|that|whether"
    r"|still|also|clear|unique|unknown|(?:an?|the)\s+(?!set)[a-z]{2,})\b"
    r"|\u4e0d|\u5426|\u6ca1|\u591a\u5c11|\u4ec0\u4e48|\u4ecb\u4e8e"
)
FILLER = re.compile(
    r"(?i)\s*(?:(?:therefore|thus|then|simply|just|indeed|exactly|equal\s+to|actually|hence)\b[\s,:]*)*"
)
DISPLAYED = ("\\[", "$$")  # Such a formula may have several lines.
FORMULA = re.compile(r"\$\$?((?:[^$\\]|\\.)+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")


# A later sentence that takes back what stood before it.
WITHDRAWN = re.compile(
    r"(?i)\b(?:wait|oops|hmm+|sorry|actually|correction|oh)\b[\s,.:!*\u2014\u2013-]{0,9}(?:no\b[\s,.!]{0,9})?"
    r"(?:that|this|it|my\s+answer)(?:['\u2019]s|\s+is|\s+was)\s+(?:wrong|incorrect|not\s+(?:right|correct)|a\s+mistake)\b"
)


def replacing_answer(text: str) -> str | None:
    r"""Returns what a reply announces after it has taken back its box or its `####`; None if one of these follows."""
    end = max((match.end() for match in WITHDRAWN.finditer(text)), default=None)
    tail = "" if end is None else text[end:]
    return None if "\\boxed" in tail or "####" in tail else announced_answer(tail)


def announced_answer(text: str) -> str | None:
    """Returns the value of the last announcement: its formula, or the rest of its sentence; None if there is none."""
    for match in reversed(list(ANNOUNCEMENT.finditer(text))[-MOST_LOOKED_AT:]):
        if value := _value(text, match.start(), match.end()):
            return value
    start = max(text.rstrip().rfind("\n") + 1, len(text.rstrip()) - LONGEST)
    total = TOTAL.search(text, start)
    return _value(text, total.start(), total.end()) if total else None


def _value(text: str, start: int, end: int) -> str | None:
    """Returns the value that the words after `end` announce, unless those before `start` put it in doubt."""
    line = text[max(text.rfind("\n", 0, start) + 1, start - LONGEST) : start]
    before = re.split(r"[.!?:;,]\s|[\u3002\uff01\uff1f\uff1b\uff0c]", line)[-1]
    rest = text[end : end + LONGEST]
    rest = rest.replace("\n", " ") if rest.startswith(DISPLAYED) else rest.partition("\n")[0]
    rest = FILLER.sub("", rest, count=1)
    formula = FORMULA.match(rest)
    after = rest[formula.end() :] if formula else rest
    sentence = re.split(r"[.!](?:\s|$)|\u3002", after, maxsplit=1)[0]
    if DOUBT.search(before) or NO_VALUE.match(rest) or re.search("[?\uff1f\u5417]", sentence):
        return None
    value = next(filter(None, formula.groups())) if formula else _plain(rest)
    return None if not value or "\\boxed" in value or is_placeholder(value) else value.strip()


def _plain(rest: str) -> str:
    """Returns the rest of a sentence without the explanation that follows."""
    end = r"</answer>|\.(?:\s|$)|\*\*|!(?:\s|$)|, (?:which|since|because|as|so)\b|[\u3002\uff01\uff0c]"
    other = r"|,\s+(?:and\s+)?not\s+(?=[-$\\\d(])|,?\s+(?:rather\s+than|instead\s+of)\b"
    return re.split(end + other, rest)[0].strip()
