"""Numbers that are written in words."""

import re

from jaxreason.tasks.answer_words import TEXT

SCALES = {"dozen": "12", "hundred": "10^{2}", "thousand": "10^{3}", "million": "10^{6}"}
SCALES |= {"billion": "10^{9}", "trillion": "10^{12}"}
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
    "fifteen",
]
SMALL += ["sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SPELLED = re.compile(
    rf"(?i)^\s*(?:{TEXT}\{{\s*)?((?:(?:{'|'.join(TENS)})(?:[\s-]+(?:{'|'.join(SMALL[1:10])}))?|{'|'.join(SMALL)}))"
    rf"((?:\s+(?:{'|'.join(SCALES)}))?)\s*\}}?[\s.]*$"
)


def spelled(words: str) -> str:
    """Returns a number up to 99 that is written in words, in digits."""
    tens, _, one = words.lower().replace("-", " ").rpartition(" ")
    number = SMALL.index(one) if one in SMALL else 10 * TENS.index(one) + 20
    return str(number + (10 * TENS.index(tens) + 20 if tens else 0))
