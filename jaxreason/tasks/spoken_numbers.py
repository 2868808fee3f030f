"""Numbers in English words: "one hundred and twenty-five", "fifteen hundred", "minus two thousand"."""

import re

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
ONES = {word: value for value, word in enumerate(_ONES.split())}
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
TENS = {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
SCALES = {"thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
_ONE = "|".join(ONES)
_TEN = "|".join(TENS)
# Any word that is a number, or a part of one, without what stands before and after it.
NUMBER_WORD = rf"(?:{_ONE}|{_TEN}|hundred|thousand|million|billion|dozen|half|quarter|third)"
_SMALL = rf"(?:(?:{_TEN})(?:[-\s]+(?:{_ONE}))?|{_ONE})"
_MIDDLE = rf"(?:(?:{_SMALL}|an?)\s+hundred(?:\s+(?:and\s+)?{_SMALL})?|{_SMALL})"
_GREAT = "".join(rf"(?:(?:{_MIDDLE}|an?)\s+{scale}\b\s*(?:and\s+)?)?" for scale in reversed(SCALES))
# Words that may follow as a unit; those that make another number of it are left out.
_UNIT = (
    rf"(?!{NUMBER_WORD}|(?:or|and|to|point|times|by|over|plus|minus|less|more|of|squared|cubed"
    r"|percent|halves|thirds|[a-z]+ths?|dozens|couple)\b)[a-z]+"
)
SPOKEN = re.compile(
    rf"\s*(minus\s+|negative\s+)?({_GREAT}(?:{_MIDDLE})?)\b(?:\s+{_UNIT}){{0,2}}\s*[.!]?\s*",
    re.IGNORECASE,
)
LONGEST = 120  # Characters that are read.


def spoken_number(text: str) -> str | None:
    """Returns the number of a text that is only a number in words, perhaps with a unit; None for any other text."""
    match = SPOKEN.fullmatch(text) if len(text) <= LONGEST else None
    words = re.findall(r"[a-z]+", match[2].lower()) if match else []
    if match is None or not words:
        return None
    value = _value(words)
    return f"-{value}" if match[1] and value else str(value)


def _value(words: list[str]) -> int:
    """Returns the value of words in the order in which numbers are spoken."""
    total = part = 0
    for word in words:
        if word == "hundred":
            part *= 100
        elif word in SCALES:
            total, part = total + part * SCALES[word], 0
        else:
            part += 1 if word in ("a", "an") else ONES.get(word, TENS.get(word, 0))
    return total + part
