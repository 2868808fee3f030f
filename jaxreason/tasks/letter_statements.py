"""A letter in a reply, with what the words around it say: is it stated, denied, asked about, or named with others?"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jaxreason.tasks.letter_judgements import ARTICLE, ASKED, DENIED, PRONOUN, REFUTED, TOGETHER
from jaxreason.tasks.letter_patterns import Labels
from jaxreason.tasks.letter_texts import SEVERAL

NEAR = 60  # Characters around a letter that are read.
TRIED = 300  # Statements of one kind that are tried, from the last one on.


@dataclass(frozen=True)
class Statement:
    """A letter, or SEVERAL, and the begin and end of its statement in the reply."""

    start: int
    end: int
    letter: str


def from_the_last(matches: Iterable[re.Match[str]]) -> list[re.Match[str]]:
    """Returns the last TRIED matches, in reverse order; earlier ones are not looked at."""
    return [*matches][: -TRIED - 1 : -1]


def statement_at(text: str, letter: re.Match[str], labels: Labels) -> Statement | None:
    """Returns the letter at a match, or SEVERAL if others are named with it; None if it is denied or asked about."""
    place = letter.start(1)
    words = text[max(0, place - NEAR) : place]
    if DENIED.search(words) or TOGETHER.search(words):
        return None
    after = labels.joined.match(text, letter.end(1))
    end = after.end() if after else letter.end(1)
    if REFUTED.match(text[end : end + 2 * NEAR]) or ASKED.match(text[end : end + 9]):
        return None
    before = labels.joins.search(words)
    one = letter[1].upper()
    others = (
        {x.upper() for x in re.findall(labels.any_case + r"(?![A-Za-z])", after[0])}
        if after
        else set()
    )
    others |= {before[1].upper()} if before else set()
    # "A, B is right": a comma before the letter separates two statements.
    if (
        before
        and before[0].rstrip(" (*'\"").endswith(",")
        and re.match(r"[)*]*\s+[a-z]", text[end : end + 9])
    ):
        others.discard(before[1].upper())
    return Statement(place, end, one if others <= {one} else SEVERAL)


def is_word(text: str, letter: re.Match[str], wrapped: bool = False) -> bool:
    """Returns whether the letter is the article "a" or the pronoun "I"."""
    if wrapped:
        return False
    if letter[1] in "aA":
        return ARTICLE.match(text, letter.end(1)) is not None
    return letter[1] in "iI" and PRONOUN.match(text, letter.end(1)) is not None
