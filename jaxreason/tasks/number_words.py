r"""Numbers that are written in words: `\text{one hundred twenty}`, `\text{two-thirds}`, `\text{three ways}`."""

import re
from fractions import Fraction

from jaxreason.tasks.answer_words import TEXT

SIZES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6}
SIZES |= {"billion": 10**9, "trillion": 10**12}
SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
]
SMALL += ["fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# Parts of a whole; "second" is not one of them, and "quarter" is a fourth.
PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6}
PARTS |= {"seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12}

# Any word that is a number, or a part of one.
NUMBER_WORD = rf"(?:{'|'.join([*SMALL, *TENS, *SIZES])}|half|quarter|third)"
_GREAT = "|".join(name for name in SIZES if name != "hundred")
_ONE = rf"{'|'.join(reversed(SMALL))}|an?(?=[\s-]+(?:{'|'.join(SIZES)})\b)"
_LOW = rf"(?:(?:{'|'.join(TENS)})(?:[\s-]+(?:{'|'.join(SMALL[1:10])})\b)?|{_ONE})\b"
_HIGH = rf"{_LOW}(?:[\s-]+hundred\b(?:(?:\s+and)?\s+{_LOW})?)?"
_WHOLE = rf"{_HIGH}(?:\s+(?:{_GREAT})\b(?:,?(?:\s+and)?\s+{_HIGH})?){{0,4}}"
_PART = rf"(?:(?P<above>an?|{_LOW})[\s-]+)?(?P<below>{'|'.join(PARTS)})(?P<many>s?)\b"
# Ordinals, which are parts of a whole, and other words that change the number before them.
ORDINALS = (
    r"(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|[a-z]*teen|(?:twen|thir|for|fif|six|seven|eigh|nine)tie"
    r"|hundred|thousand|[a-z]+illion)ths?"
)
CHANGING = (
    rf"{ORDINALS}|halves|thirds|quarters|squared|cubed|doubled|tripled|quadrupled|fold|factorial|score|grand"
    r"|dozens|couple|pairs|percent|below|negative|[a-z]+illion[a-z]*"
)
# "three of them", "one to one" and "two point five" are no numbers of things.
_NO_THING = (
    rf"of|to|or|and|at|in|by|on|over|plus|minus|times|point|more|less|{CHANGING}|{NUMBER_WORD}"
)
_THINGS = rf"(?P<things>(?:\s+(?!(?:{_NO_THING})\b)[A-Za-z]{{2,}}){{0,2}})"
SPELLED = re.compile(
    rf"(?i)^\s*(?:{TEXT}\{{\s*)?(?P<sign>(?:negative|minus)\s+)?"
    rf"(?:{_PART}|(?P<whole>{_WHOLE})(?:\s+and\s+{_PART.replace('?P<', '?P<more_')})?)"
    rf"{_THINGS}\s*\}}?[\s.!]*$"
)
LONGEST = 120  # Characters of a text that may be a number in words.
SIGNED = re.compile(
    rf"^\s*(?:{TEXT}\{{\s*(?:[Nn]egative|[Mm]inus)\s*\}}|(?:[Nn]egative|[Mm]inus)\b)\s*"
    r"(?=[\d.]|\\(?:frac|sqrt|pi|infty)(?![A-Za-z]))"
)


def in_digits(answer: str, things: bool = False) -> str:
    """Returns an answer that is a number in words in digits; others unchanged.

    Args:
      answer: the text.
      things: whether a name may follow, as in "three ways". "Two lines" may also be the kind of a curve and no number.
    """
    answer = SIGNED.sub("-", answer)
    found = SPELLED.match(answer)
    value = _value(found) if found else None
    if value is None or (found["things"] and not things):
        return answer
    name = rf" \text{{{found['things']}}}" if found["things"] else ""
    sign = "-" if found["sign"] else ""
    if value.denominator == 1:
        return f"{sign}{value}{name}"
    return rf"{sign}\frac{{{value.numerator}}}{{{value.denominator}}}{name}"


def spelled_number(text: str) -> str | None:
    """Returns the whole number of a text that is only a number in words, perhaps with a unit; None for other texts."""
    found = (
        re.match(r"-?\d+(?=$| )", in_digits(text, things=True)) if len(text) <= LONGEST else None
    )
    return found and found[0]


def _value(found: re.Match) -> Fraction | None:
    """Returns the value of the words that were found, or None for an ordinal, `one-third` and not `two third`."""
    if found["whole"] is None:
        return _part(found["above"], found["below"], found["many"])
    whole = Fraction(whole_number(found["whole"]))
    if found["more_below"] is None:
        return whole
    part = _part(found["more_above"], found["more_below"], found["more_many"])
    return None if part is None else whole + part


def _part(above: str | None, below: str, many: str) -> Fraction | None:
    """Returns a part of a whole; only a half needs no number before it."""
    size = PARTS[below.lower()]
    if above is None:
        return Fraction(1, 2) if size == 2 and not many else None
    number = whole_number(above)
    return Fraction(number, size) if (number == 1) == (not many) else None


def whole_number(words: str) -> int:
    """Returns the value of a whole number in words, such as `a hundred and two`."""
    total = current = 0
    for word in re.findall("[a-z]+", words.lower()):
        if word == "hundred":
            current *= 100
        elif word in SIZES:
            total, current = total + current * SIZES[word], 0
        elif word in ("a", "an"):
            current += 1
        elif word != "and":
            current += SMALL.index(word) if word in SMALL else 10 * TENS.index(word) + 20
    return total + current
