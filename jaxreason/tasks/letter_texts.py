"""Finds the choice that a reply names by its text. A text that is part of another choice's text does not name it."""

import re
from collections.abc import Sequence
from functools import lru_cache

from jaxreason.tasks.letter_patterns import DENIED, REFUTED

# Characters that a text without digits needs before it is searched for inside a line: "no" is too short.
MIN_INSIDE = 4
MAX_LINE = 4000  # Characters of a line that are read.


@lru_cache(maxsize=256)
def pattern_of(texts: tuple[str, ...]) -> re.Pattern[str] | None:
    """Returns a pattern of any of the texts, longest first, as whole words in any case; None if there are none."""
    parts = sorted(
        (re.escape(plain_text(text)) for text in texts if plain_text(text)), key=len, reverse=True
    )
    parts = [part.replace("\\ ", r"\s+") for part in parts]
    return re.compile(rf"(?<![\w.])(?:{'|'.join(parts)})(?!\w|[.,]\d)", re.I) if parts else None


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
    """Returns the end and the label of a choice's text that begins at a place, or None."""
    pattern = pattern_of(tuple(texts))
    match = pattern.match(text, place) if pattern else None
    label = label_of(match[0], letters, texts) if match else None
    return (match.end(), label) if label else None


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
    """Returns the label of the only choice whose text occurs in the line and is not denied there.

    A text of fewer than MIN_INSIDE letters does not count.
    """
    pattern = pattern_of(tuple(text for text in texts if is_telling(plain_text(text))))
    line = line[-MAX_LINE:]
    found = set()
    for match in pattern.finditer(line) if pattern else ():
        before = line[max(0, match.start() - 60) : match.start()]
        if DENIED.search(before) or REFUTED.match(line[match.end() : match.end() + 120]):
            continue
        found.add(label_of(match[0], letters, texts))
    return found.pop() if len(found) == 1 else None


def is_telling(text: str) -> bool:
    """Returns whether a text inside a line is unlikely to be there by chance."""
    return len(text) >= MIN_INSIDE or any(map(str.isdigit, text))
