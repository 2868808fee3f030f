"""Numbers in English words: "one hundred and twenty-five", "fifteen hundred", "minus two thousand"."""

import re

from jaxreason.tasks.number_words import CHANGING, SMALL, TENS, whole_number

SCALES = ("billion", "million", "thousand")
_ONE = "|".join(SMALL)
_TEN = "|".join(TENS)
# Any word that is a number, or a part of one, without what stands before and after it.
NUMBER_WORD = rf"(?:{_ONE}|{_TEN}|hundred|thousand|million|billion|dozen|half|quarter|third)"
_SMALL = rf"(?:(?:{_TEN})(?:[-\s]+(?:{_ONE}))?|{_ONE})"
_MIDDLE = rf"(?:(?:{_SMALL}|an?)\s+hundred(?:\s+(?:and\s+)?{_SMALL})?|{_SMALL})"
_GREAT = "".join(rf"(?:(?:{_MIDDLE}|an?)\s+{scale}\b\s*(?:and\s+)?)?" for scale in SCALES)
# Words that may follow as a unit; those that make another number of it are left out.
_UNIT = rf"(?!{NUMBER_WORD}|(?:or|and|to|point|times|by|over|plus|minus|less|more|of|{CHANGING})\b)[a-z]+"
SPOKEN = re.compile(
    rf"\s*(minus\s+|negative\s+)?({_GREAT}(?:{_MIDDLE})?)\b(?:\s+{_UNIT}){{0,2}}\s*[.!]?\s*",
    re.IGNORECASE,
)
LONGEST = 120  # Characters that are read.


def spoken_number(text: str) -> str | None:
    """Returns the number of a text that is only a number in words, perhaps with a unit; None for any other text."""
    match = SPOKEN.fullmatch(text) if len(text) <= LONGEST else None
    if match is None or not match[2].strip():
        return None
    value = whole_number(match[2])
    return f"-{value}" if match[1] and value else str(value)
