r"""Answers that a reply takes back ("Wait, it is C.", "Hmm, that is wrong."), or gives only for another question.

Every pattern takes linear time: repetitions are possessive or bounded.
"""

import re
from collections.abc import Iterator, Sequence

from jaxreason.tasks.letter_patterns import IT_IS, NAMED, WRAP, Labels
from jaxreason.tasks.letter_statements import NEAR, Statement, from_the_last
from jaxreason.tasks.letter_texts import announced_text

FAR = 200  # Characters between a second look and its result, or of a sentence before its answer.

_MARKS = r"[\s,.:;!…*_—–-]*+"
_THOUGHT = (
    r"(?:up)?on\s+(?:(?:a\s+)?(?:second|further|closer|more\s+careful|deeper)\s+(?:thoughts?|reflection"
    r"|look|inspection|consideration|reading|examination|analysis)|reflection|re-?\w{4,12})"
)
# Words after which a letter alone replaces another, as in "wait, C.".
_REPLACES = (
    rf"\b(?:wait|correction|sorry|scratch\s+that|oops|actually|i\s+mean|rather|or\s+rather|{_THOUGHT})\b"
    rf"{_MARKS}(?:(?P<no>no)\b{_MARKS})?(?:{IT_IS})?"
)
_NO = rf"\bno[,;][ \t]*+(?:wait\b{_MARKS})?(?:{IT_IS})?"
_NOT_BUT = r"\bnot\s+(?:\(?[A-Za-z0-9]\)?)\s*,?\s*but\s+(?:rather\s+)?"
REPLACES = re.compile(rf"(?:{_REPLACES}|{_NO}|{_NOT_BUT})\s*(?:{WRAP}{NAMED}){WRAP}", re.IGNORECASE)
WEAK = re.compile(r"(?:rather|or|i|not)\b", re.IGNORECASE)  # They seldom begin a sentence.
COUNTS = re.compile(
    r"(?:no|(?:up)?on)\b", re.IGNORECASE
)  # What follows may be a number, and no label.
ENDS = re.compile(r"[*)\]}'\"]*(?:[.!;]|\s*$|\n)")
# Words that begin a second look, whose result follows in words like "it is C".
SECOND_LOOK = re.compile(
    rf"\b(?:wait|hmm+|hold\s+on|oops|correction|sorry|scratch\s+that|apologies|my\s+(?:mistake|bad)|{_THOUGHT}"
    r"|let\s+me\s+(?:re-?\w{4,12}|(?:double[\s-]?)?check|look\s+(?:at\s+\w+\s+)?again|think\s+again)"
    r"|i\s+(?:misread|misspoke|miscalculated|was\s+wrong|(?:have\s+)?made\s+an?\s+(?:mistake|error))"
    r")\b",
    re.IGNORECASE,
)
# Words that make a sentence, or its last clause, one that only considers an answer.
SUPPOSED = re.compile(r"\b(?:if|unless|whether|would|suppos\w+|assum\w+)\b|\?", re.IGNORECASE)
DOUBTED = re.compile(
    r"\b(?:not|never|why|how|may|might|could|claim\w*|say|says|said|seem\w*|tempt\w+"
    r"|(?<!\bi )(?:think|thinks|thought|believe))\b|n't\b",
    re.IGNORECASE,
)
# A sentence of its own that takes back what was announced before it.
WITHDRAWN = re.compile(
    rf"(?P<surely>\b(?:wait|hmm+|oops|oh|hold\s+on){_MARKS})?(?P<soon>\b(?:actually|sorry|no|but|however){_MARKS})?"
    r"\b(?:that|this|it|which|my\s+answer)(?:'s|\s+is|\s+was|(?=\s+can't|\s+cannot|\s+isn't|\s+wasn't))"
    r"(?:\s+(?:clearly|actually|definitely|just))?(?:\s+(?:wrong|incorrect|a\s+mistake)"
    r"|\s+(?:not|can't|cannot|isn't|wasn't)(?:\s+be)?(?:\s+quite)?\s+(?:right|correct))\b"
    r"(?=\s*(?:[.,;:!…)—–-]|$|\n|because\b|since\b|as\b))",
    re.IGNORECASE,
)
# Of these, "C is correct" need not follow as a reason: "That is incorrect. C is correct." may explain a statement that
# the question asks to be false.
BLUNT = re.compile(r"that\b.*\b(?:wrong|not\s+right|not\s+correct)$", re.IGNORECASE)
# The beginning of a sentence that ends with a letter, for another question than the one that was asked.
UNREAL = re.compile(
    r"(?:\bif\s+(?!(?:i|we|you|one)\b)(?:\S+\s+){1,12}?(?:were|was|had|did|didn't|weren't|wasn't)\b"
    r"|^\W*(?:were|had)\s)",
    re.IGNORECASE,
)
UNREAL_AFTER = re.compile(
    r"[)*'\"\s]*\b(?:would|could|might)\s+(?:only\s+)?(?:be|have\s+been)\s+(?:\w+\s+){1,3}if\b[^.\n]{0,80}?"
    r"\b(?:were|was|had|did)",
    re.IGNORECASE,
)
CONDITION = re.compile(
    r"\b(?:if|unless|otherwise|without|suppos\w+|assum\w+|imagin\w+|in\s+(?:that|such\s+a)\s+case)\b|^\W*(?:were|had|then)\s",
    re.IGNORECASE,
)
WOULD_BE = re.compile(
    r"\b(?:would|could|might)\s+(?:\w+\s+)?be(?:en|come)?\b[^,;:]{0,40}$", re.IGNORECASE
)


def sentence_before(text: str, place: int) -> str:
    """Returns the sentence up to a place, or its last FAR characters."""
    return re.split(r"[.!?;]\s|\n", text[max(0, place - FAR) : place])[-1]


def is_unreal(text: str, place: int) -> bool:
    """Returns whether the words before a letter make it the answer to another question: "if x were 3, it would be"."""
    sentence = sentence_before(text, place)
    return WOULD_BE.search(sentence) is not None and UNREAL.search(sentence) is not None


def would_be_if(text: str, end: int) -> bool:
    """Returns whether the words after a letter make it the answer to another question: "would be right if x were 3"."""
    return UNREAL_AFTER.match(text, end) is not None


def is_conditional(text: str, place: int) -> bool:
    """Returns whether the words before a letter give it on a condition, which may be the question's own one."""
    sentence = sentence_before(text, place)
    return WOULD_BE.search(sentence) is not None and CONDITION.search(sentence) is not None


def revised(text: str, labels: Labels, texts: Sequence[str] = ()) -> Iterator[Statement]:
    """Yields letters, and texts of choices, that replace others and are followed by a mark, last first."""
    for match in from_the_last(REPLACES.finditer(text)):
        if labels.digits and COUNTS.match(match[0]):
            continue
        if letter := labels.capital_letter.match(text, match.end()):
            end, label = letter.end(), letter[1]
        elif spoken := announced_text(text, match.end(), labels.letters, texts) or (
            # "Wait, no." at the end may be the text of a choice.
            match["no"]
            and not text[match.end() :].strip()
            and announced_text(text, match.start("no"), labels.letters, texts)
        ):
            end, label = spoken
            before = text[max(0, match.start() - NEAR) : match.start()].rstrip()
            if WEAK.match(match[0]) or (before and before[-1] not in ".!?;:—–-"):
                continue
        else:
            continue
        if ENDS.match(text, end):
            yield Statement(match.start(), end, label)


def reconsidered(text: str, labels: Labels) -> Iterator[Statement]:
    """Yields letters that are the result of a second look, last first: "Let me check again. So it is C."."""
    if labels.digits:  # "Let me check again: it is 3" is about a number.
        return
    for match in from_the_last(labels.result.finditer(text)):
        if not ENDS.match(text, match.end()):
            continue
        looks = from_the_last(
            SECOND_LOOK.finditer(text, max(0, match.start() - FAR), match.start())
        )
        if not looks:
            continue
        between = text[looks[0].end() : match.start()]
        said = re.fullmatch(r"\W*(?:(?:so|no|then)\b\W*)?", between) is not None
        doubted = SUPPOSED.search(between) or DOUBTED.search(re.split(r"[.,;:]\s", between)[-1])
        if said or (match["it"] and not doubted):
            yield Statement(match.start(), match.end(), match["it"] or match["named"])


def withdrawal(text: str, announced: Statement, labels: Labels) -> tuple[int, bool] | None:
    """Returns where a sentence ends that takes an announcement back, and whether it follows at once; None without one.

    "Which is false? B. That is wrong." takes nothing back. So another letter must follow, unless the reply hesitates
    first.
    """
    match = WITHDRAWN.search(text, announced.end, announced.end + 2 * FAR)
    if match is None or match.start() > announced.end + FAR:
        return None
    between = text[announced.end : match.start()]
    soon = re.search(r"\w", between) is None
    if match["surely"]:
        apart = "?" in between or labels.lone.search(between)
        return None if apart else (match.end(), soon)
    return (
        (match.end(), soon)
        if soon and (match["soon"] or is_replaced(text, match, labels))
        else None
    )


def is_replaced(text: str, match: re.Match[str], labels: Labels) -> bool:
    """Returns whether another letter follows the words that call the first one wrong."""
    follows = labels.instead.match(text, match.end())
    if follows is None:
        return False
    if follows["it"]:
        return ENDS.match(text, follows.end()) is not None
    return BLUNT.match(match[0]) is not None
