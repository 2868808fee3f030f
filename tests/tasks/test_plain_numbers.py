from fractions import Fraction

import pytest

from jaxreason.tasks.equivalence import numeral

NUMBERS = [
    ("5", "5"),
    ("-5", "-5"),
    ("+5", "5"),
    ("025", "25"),
    ("1,234,567", "1234567"),
    ("0.50", "1/2"),
    (".0000672", "42/625000"),
    ("-.5", "-1/2"),
    ("36/2", "18"),
    (r"\frac{14}{3}", "14/3"),
    (r"-\frac{1}{2}", "-1/2"),
    (r"4\frac{2}{3}", "14/3"),
    (r"-4 \frac{2}{3}", "-14/3"),
]
NONE = [
    "",
    "5x",
    "1,23",
    "1,2",
    "1/0",
    r"\frac{1}{0}",
    "5%",
    "1/2/3",
    "2+2",
    "x",
    "1.2.3",
    "٥x",
    "9" * 301,
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_a_plain_number_is_read_exactly(text, value):
    assert numeral(text) == Fraction(value)


@pytest.mark.parametrize("text", NONE)
def test_other_texts_are_left_to_sympy(text):
    assert numeral(text) is None
