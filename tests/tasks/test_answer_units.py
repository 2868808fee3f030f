from fractions import Fraction

import pytest

from jaxreason.tasks.answer_units import read_unit, unit_of, without_currency

UNITS = [  # a tidied answer, its kinds with their powers, its size in the kind's own unit
    (r"5 \text{ cm}", {"length": 1}, "1/100"),
    (r"5 \mbox{ cm}^2", {"length": 2}, "1/10000"),
    (r"5 \text{ square inches}", {"length": 2}, "16129/25000000"),
    (r"5 \text{ km/h}", {"length": 1, "time": -1}, "5/18"),
    (r"5 \text{ miles per hour}", {"length": 1, "time": -1}, "1397/3125"),
    (r"5 \text{ mph}", {"length": 1, "time": -1}, "1397/3125"),
    (r"\$5", {"dollar": 1}, "1"),
    (r"5 \text{ cents}", {"dollar": 1}, "1/100"),
    ("5 minutes", {"time": 1}, "60"),
    ("5\u20ac", {"euro": 1}, "1"),
    (r"5^\circ", {"angle": 1}, "1"),
]
NONE = [r"5 \text{ apples}", "5", "5m", "5 x", r"5\sqrt{3}", r"\text{even}", r"5 \text{ per}", ""]


@pytest.mark.parametrize(("answer", "kinds", "size"), UNITS)
def test_a_unit_is_read_with_its_kind_and_size(answer, kinds, size):
    assert unit_of(answer) == (tuple(sorted(kinds.items())), Fraction(size))


@pytest.mark.parametrize("answer", NONE)
def test_what_is_no_known_unit_is_none(answer):
    assert unit_of(answer) is None


def test_units_of_the_benchmarks_own_column_are_read():
    assert read_unit("$cm^2$") == read_unit("square cm") != read_unit("cm")
    assert read_unit(r"^{\circ}") == read_unit("degrees")
    assert read_unit("km/h") == read_unit("kilometers per hour")
    assert read_unit("") is None and read_unit("%") is None


def test_currency_signs_are_taken_away():
    assert [without_currency(text) for text in (r"\$5", "5\u20ac", "5")] == ["5", "5", "5"]
