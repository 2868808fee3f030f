"""The comparison of sympy objects that were made by sympy, not read."""

import pytest
import sympy
from sympy import FiniteSet, I, Interval, Rational, Symbol, Tuple, oo, sqrt

from jaxreason.tasks.sympy_values import is_rounded, same_value

x, n = Symbol("x", real=True), Symbol("n", real=True)
SAME = [
    (Rational(1, 3), Rational(2, 6)),
    (sympy.Float("0.1"), Rational(1, 10)),
    (sqrt(2) * sqrt(3), sqrt(6)),
    (sqrt(5 + 2 * sqrt(6)), sqrt(2) + sqrt(3)),
    (sympy.sin(sympy.pi / 12), (sqrt(6) - sqrt(2)) / 4),
    ((x + 1) ** 2, x**2 + 2 * x + 1),
    (sympy.sin(x) ** 2 + sympy.cos(x) ** 2, sympy.Integer(1)),
    (sqrt(1 / n), 1 / sqrt(n)),
    (Tuple(1, sqrt(4)), Tuple(1, 2)),
    (FiniteSet(1, 2), FiniteSet(2, 1)),
    (Interval(0, oo), Interval(0, oo)),
    (sympy.Matrix([1, 2]), sympy.Matrix([1, 2])),
    (2 * I, (1 + I) ** 2),
]
UNLIKE = [
    (Rational(1, 3), sympy.Float("0.3333333")),
    (Rational(1, 2**98), Rational(1, 2**97)),
    (sqrt(2) / 10**30, sqrt(2) / 10**31),
    (sqrt(2) / 10**30, sqrt(2) / 10**30 + Rational(1, 10**45)),
    (x / 2**98, x / 2**97),
    (x, abs(x)),
    (x, sympy.floor(x)),
    (x, Symbol("y", real=True)),
    (x, sympy.Integer(1)),
    (Tuple(1, 2), Tuple(2, 1)),
    (FiniteSet(1, 2), FiniteSet(1, 3)),
    (Interval(0, 1), Interval.open(0, 1)),
    (Interval(0, 1), sympy.Integer(1)),
    (sympy.Matrix([1, 2]), sympy.Matrix([[1, 2]])),
    (sympy.zoo, sympy.zoo),
    (sympy.nan, sympy.nan),
    (oo, sympy.Integer(5)),
]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_equal_values_are_the_same_whatever_their_form(gold, answer):
    assert same_value(gold, answer)


@pytest.mark.parametrize(("gold", "answer"), UNLIKE)
def test_unlike_values_are_not_the_same_however_close_or_small(gold, answer):
    assert not same_value(gold, answer)


def test_a_decimal_rounds_a_value_if_it_has_six_digits_that_are_right():
    third = Rational(14, 3)
    for decimal, right in [
        ("4.66667", 1),
        ("4.666667", 1),
        ("4.6667", 0),
        ("4.66666", 0),
        ("5", 0),
    ]:
        assert is_rounded(third, decimal) == bool(right)
    assert is_rounded(sqrt(2) / 1000, "0.00141421") and not is_rounded(sqrt(2) / 1000, "0.00141")
