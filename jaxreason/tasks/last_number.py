r"""Answers that are one number: GSM8K (after `####`, in \boxed{}, or the last one), sums (the last one).

`gsm8k` and `last_number` also accept a fraction of integers that has the value, 36/2 for 18; `gsm8k_strict` and
`last_number_strict` (for rewards) accept only a number that is written out.
"""

import re
from decimal import Decimal
from fractions import Fraction
from functools import partial

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.equivalence import bare_value, numeral
from jaxreason.tasks.latex_answers import tidy_latex, without_unit
from jaxreason.tasks.marked_numbers import gsm8k_number
from jaxreason.tasks.number_words import SIZES
from jaxreason.tasks.numbers_in_text import SIZE_LETTERS, SIZE_WORDS, last_number
from jaxreason.tasks.reply_text import score_both_ways, strip_thinking

MOST_CHARACTERS = 200  # Of a fraction.
VALUE = r"/|\\[dt]?frac|10\s*\^|illion|thousand|hundred|[\u00bc-\u00be\u2150-\u215e]"
SCALED = r"(.+?)\s*\\(?:cdot|times)\s*10\s*\^\s*\{?(\d{1,2})\}?"

# $1.5M and 1.5 million dollars.
ROUND = re.compile(
    rf"\\?\$?\s*(\d[\d,]*(?:\.\d+)?)\s*({SIZE_WORDS})(?:\s+(?!or\b|and\b|to\b)[a-z]+){{0,2}}"
    rf"|\\?\$\s*(\d[\d,]*(?:\.\d+)?)\s?({SIZE_LETTERS})"
)
LETTERS = {"k": 1000, "K": 1000, "M": 10**6, "B": 10**9}


def grade(example: Example, answer: str, strict: bool = False) -> float:
    """Returns 1.0 for the value of the gold answer (of a worked solution: the part after `####`), else 0.0.

    Raises:
      UserError: for a gold answer without a number.
    """
    gold = last_number(example.answer.rpartition("####")[2])
    if gold is None:
        raise UserError(
            f"example {example.id!r}: the gold answer {example.answer!r} has no number."
        )
    plain = is_plain_number(answer)
    if plain and is_plain_number(gold):
        return float(Decimal(gold) == Decimal(answer))
    if strict and not plain:
        return float(gold == answer)
    value = value_of(answer)
    return float(gold == answer or (value is not None and value_of(gold) == value))


def is_plain_number(answer: str) -> bool:
    """Returns whether an extracted answer is one plain number."""
    return re.fullmatch(r"-?\d*\.?\d+", answer) is not None


def value_of(number: str) -> Fraction | None:
    """Returns the value of an extracted number, plain or as `fraction_of` reads it; None for a time and the like."""
    return numeral(number) if is_plain_number(number) else fraction_of(number)


def fraction_of(answer: str) -> Fraction | None:
    r"""Returns the value of `36/2`, `\frac{36}{2}`, `4 1/2` or `7 million`, perhaps with a unit; or None."""
    if len(answer) > MOST_CHARACTERS:
        return None
    if found := ROUND.fullmatch(re.sub(r"\\(?:text\w*|mathrm)|[{}*.]*$|[{}*]", "", answer).strip()):
        number, size = found[1] or found[3], found[2] or found[4]
        return Fraction(number.replace(",", "")) * (SIZES | LETTERS)[size]
    if not re.search(VALUE, answer):
        return None
    text = bare_value(without_unit(tidy_latex(answer.rpartition("=")[2])))
    scaled = re.fullmatch(SCALED, text)
    value = numeral(scaled[1] if scaled else text)
    return value * 10 ** int(scaled[2]) if scaled and value is not None else value


def extract(example: Example, text: str) -> str | None:
    """Returns the last number of the reply without its thoughts."""
    return last_number(strip_thinking(text))


def score(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `accuracy_unstripped` and `answered`."""
    return score_both_ways(example, text, last_number, grade)


def score_strict(example: Example, text: str) -> dict[str, float]:
    """Returns the metrics of `score`, but only a number that is written out counts."""
    return score_both_ways(example, text, last_number, partial(grade, strict=True))


def extract_gsm8k(example: Example, text: str) -> str | None:
    """Returns GSM8K's answer in the reply without its thoughts."""
    return gsm8k_number(strip_thinking(text))


def score_gsm8k(example: Example, text: str) -> dict[str, float]:
    """Returns `accuracy`, `accuracy_unstripped` and `answered`."""
    return score_both_ways(example, text, gsm8k_number, grade)


def score_gsm8k_strict(example: Example, text: str) -> dict[str, float]:
    """Returns the metrics of `score_gsm8k`, but only a number that is written out counts."""
    return score_both_ways(example, text, gsm8k_number, partial(grade, strict=True))
