"""Finds the choice that a reply names by its text. A text that is part of another choice's text does not name it."""

import re
from collections.abc import Sequence
from functools import lru_cache

from jaxreason.tasks.languages import UNENDED, UNSPACED
from jaxreason.tasks.letter_judgements import ASKED, DENIED, REFUTED
from jaxreason.tasks.letter_patterns import CLOSE

SEVERAL = ""  # Several choices were named together where one was asked for.

# Characters that a text without digits needs before it is searched for inside a line: "no" is too short.
MIN_INSIDE = 4
MAX_LINE = 4000  # Characters of a line that are read.
# Marks and words between two texts that are named together, and what follows the second one.
_GAP = rf"(?:{CLOSE})*+\s*+"
JOIN = re.compile(
    rf"{_GAP}(?P<link>,?\s*(?:\b(?:or|and)\b|[/&])|,)\s*+(?:the\s+)?[*_`'\"“(]*+", re.I
)
JOINED = re.compile(rf"{_GAP}(?:[.,;!?/&]|$|\n|(?:or|and|both)\b)", re.I)
# What follows the text of a choice that opens a reply as its answer, and what follows one that is only mentioned.
OPENS = re.compile(
    rf"(?:{CLOSE})*+\s?(?:[.!;](?!\w)|,(?=\s)|[—–-]\s|\n|\s(?:because|since)\b)", re.I
)
MENTIONED = re.compile(
    r"[\s,]*(?:which|although|though|while|if|unless|when|where|wait|or|and)\b", re.I
)
# Words that lead to another answer than the opening one.
TURN = re.compile(
    r"\b(?:so|hence|thus|therefore|wait|hmm+|actually|rather|instead|correction|sorry|no,|but|however"
    r"|reflection|thoughts?|it\s+(?:must|should|has\s+to)\s+be)\b|[,;.]\s*no,",
    re.I,
)
SPACES = re.compile(r"[\s*_`'\"“]*+")
# What stands between a label and its text in a list's style: `B: No`, `(D) - Not enough`.
LABEL_MARK = re.compile(r"[)\]}$*_]*+\s?(?::|[.—–-](?!\w))[\s*_`'\"“]*+")
LINE_START = re.compile(r"\n[\s*_`'\"“+-]*+")
ITEM_END = re.compile(r"[*_`'\"”]*+\s?(?:[:.\n—–-]|$)")
MOST_JOINED = 30
LONGEST = 1000  # Characters of a reply whose first words may be its answer; a longer one only begins to think.
FAR = 60  # Characters after such words.


@lru_cache(maxsize=256)
def pattern_of(texts: tuple[str, ...]) -> re.Pattern[str] | None:
    """Returns a pattern of any of the texts, longest first, as whole words in any case; None if there are none."""
    parts = sorted(
        (re.escape(plain_text(text)) for text in texts if plain_text(text)), key=len, reverse=True
    )
    parts = [part.replace("\\ ", r"\s+") for part in parts]
    before, after = rf"(?<![^\W{UNSPACED}])(?<!\.)", rf"(?![^\W{UNENDED}]|[.,]\d)"
    return re.compile(f"{before}(?:{'|'.join(parts)}){after}", re.I) if parts else None


def plain_text(text: str) -> str:
    """Returns a text without surrounding marks and with single spaces."""
    return re.sub(r"\s+", " ", re.sub(r"[*_`$\"“”]", "", text)).strip(" .'‘’:;")


def label_of(found: str, letters: Sequence[str], texts: Sequence[str]) -> str | None:
    """Returns the only label that has this text, or None."""
    found = plain_text(found).lower()
    labels = [x for x, text in zip(letters, texts) if plain_text(text).lower() == found]
    return labels[0].upper() if len(labels) == 1 else None


def announced_text(
    text: str, place: int, letters: Sequence[str], texts: Sequence[str]
) -> tuple[int, str] | None:
    """Returns the end and the label of a choice's text that begins at a place; SEVERAL if others are named with it.

    It is None if there is no text, or if the reply asks about it.
    """
    pattern = pattern_of(tuple(texts))
    match = pattern.match(text, place) if pattern else None
    label = label_of(match[0], letters, texts) if match else None
    if match is None or label is None or ASKED.match(text, match.end()):
        return None
    others = joined(text, match.end(), pattern)
    if any(label_of(other[0], letters, texts) != label for other in others):
        return others[-1].end(), SEVERAL
    return match.end(), label


def begins_with_text(
    text: str, place: int, label: str, letters: Sequence[str], texts: Sequence[str]
) -> bool:
    """Returns whether this label's choice follows at a place: behind a mark as in lists, or up to the line's end."""
    mark = LABEL_MARK.match(text, place)
    end = end_of_text(text, mark.end() if mark else place, label, letters, texts)
    return end is not None and (mark is not None or ITEM_END.match(text, end) is not None)


def end_of_text(
    text: str, place: int, label: str, letters: Sequence[str], texts: Sequence[str]
) -> int | None:
    """Returns where the text of this label's choice ends if it begins behind the spaces at a place, else None."""
    own = tuple(one for x, one in zip(letters, texts) if x.upper() == label)
    pattern = pattern_of(own)
    found = pattern.match(text, SPACES.match(text, place).end()) if pattern else None
    return found.end() if found else None


def joined(text: str, end: int, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """Returns the texts of choices that are named together with the one that ends at a place."""
    found: list[re.Match[str]] = []
    while join := JOIN.match(text, end):
        other = pattern.match(text, join.end())
        if other is None or not JOINED.match(text, other.end()):
            break
        found, end = [*found, other], other.end()
        if len(found) == MOST_JOINED:
            break
    return found


def opening_text(text: str, letters: Sequence[str], texts: Sequence[str]) -> str | None:
    """Returns the label of the choice whose text opens the reply as its answer, as in "No, because ...", or None.

    It is None if other choices are discussed in the same way, or if the reply seems to turn to another choice later.
    """
    if len(text) > LONGEST:
        return None
    pattern = pattern_of(tuple(one for one in texts if len(plain_text(one)) > 1 or one.isdigit()))
    match = pattern.match(text, SPACES.match(text).end()) if pattern else None
    label = label_of(match[0], letters, texts) if match else None
    mark = OPENS.match(text, match.end()) if label else None
    if mark is None or MENTIONED.match(text, match.end()):
        return None
    if re.search(r"[-–—]", mark[0]) and not re.fullmatch(
        r"[^\W\d_]{2,}(?:\s+[^\W\d_]+)*", match[0]
    ):
        return None  # It is a sign, as in "12 - 5".
    if match[0].isdigit() and mark[0].strip() == "." and text[mark.end() :].strip():
        return None  # It is the number of a list's item.
    return None if turns(text, mark, label, (pattern, letters, texts)) else label


def turns(text: str, mark: re.Match[str], label: str, choices: tuple) -> bool:
    """Returns whether the text after an opening one turns to another choice, or lists the choices."""
    pattern, letters, texts = choices

    def is_other(match: re.Match[str] | None) -> bool:
        return match is not None and label_of(match[0], letters, texts) != label

    second = pattern.match(text, SPACES.match(text, mark.end()).end())
    if second and (mark[0][-1] == "," or (is_other(second) and JOINED.match(text, second.end()))):
        return True
    heads = (pattern.match(text, line.end()) for line in LINE_START.finditer(text))
    if any(is_other(head) and ITEM_END.match(text, head.end()) for head in heads):
        return True
    return any(
        is_other(pattern.search(text, turn.end(), turn.end() + FAR))
        for turn in TURN.finditer(text, mark.end())
    )


def line_of_text(text: str, letters: Sequence[str], texts: Sequence[str]) -> str | None:
    """Returns the label of the only choice whose text is a line of its own, or None."""
    if pattern_of(tuple(texts)) is None:
        return None
    longest = 2 * max(map(len, texts)) + 20
    lines = {plain_text(line).lower() for line in text.splitlines() if len(line) < longest}
    found = [
        x for x, one in zip(letters, texts) if plain_text(one) and plain_text(one).lower() in lines
    ]
    return found[0].upper() if len(found) == 1 else None


def text_in_line(line: str, letters: Sequence[str], texts: Sequence[str]) -> str | None:
    """Returns the label of the only choice whose text occurs in the line and is neither denied nor asked about.

    A text of fewer than MIN_INSIDE letters does not count.
    """
    pattern = pattern_of(tuple(texts))
    line = line[-MAX_LINE:]
    found = set()
    for match in pattern.finditer(line) if pattern else ():
        before = line[max(0, match.start() - 60) : match.start()]
        after = line[match.end() : match.end() + 120]
        if DENIED.search(before) or REFUTED.match(after) or ASKED.match(after):
            continue
        together = [match, *named_with(line, match.end(), pattern)]
        if any(is_telling(plain_text(one[0])) for one in together):
            found |= {label_of(one[0], letters, texts) for one in together}
    return found.pop() if len(found) == 1 else None


def named_with(line: str, end: int, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    """Returns the texts that "and", "or" or a stroke joins to the one that ends at a place; a comma may part them."""
    join = JOIN.match(line, end)
    return joined(line, end, pattern) if join and join["link"] != "," else []


def is_telling(text: str) -> bool:
    """Returns whether a text inside a line is unlikely to be there by chance."""
    return len(text) >= MIN_INSIDE or any(map(str.isdigit, text))
