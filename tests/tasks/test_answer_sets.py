import pytest
from sympy import Interval, Union, oo

from jaxreason.tasks.answer_sets import read_set, same_set

SETS = [
    ("x > 2", Interval.open(2, oo)),
    (r"2 \le x < 5", Interval.Ropen(2, 5)),
    (r"5 > x \geqslant 2", Interval.Ropen(2, 5)),
    (r"x<-1 \text{ or } x>2", Union(Interval.open(-oo, -1), Interval.open(2, oo))),
    (r"x \ge 2 \text{ and } x \le 3", Interval(2, 3)),
    (r"\{x \in \mathbb{R} \mid x > 2\}", Interval.open(2, oo)),
    (r"x \in [2, 3]", Interval(2, 3)),
    (r"[0,1] \cup (2, 3]", Union(Interval(0, 1), Interval.Lopen(2, 3))),
]
NONE = ["x", "x < y", "1 < 2", "0 < x, y > 2", "1 < x < 2 < 3", "x < y < 3", "x <", "< 5", "5"]
NONE += ["1I<think>", "x < i", r"2i \le x < 5", r"x \ne 3i"]  # imaginary bounds


@pytest.mark.parametrize(("text", "numbers"), SETS)
def test_intervals_and_inequalities_are_sets(text, numbers):
    assert read_set(text) == numbers


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_set_of_one_name_is_none(text):
    assert read_set(text) is None


def test_sets_are_the_same_by_their_ends():
    assert same_set(r"(\sqrt{2}, \infty)", r"x > \frac{2}{\sqrt{2}}")
    assert not same_set(r"(\sqrt{2}, \infty)", r"x \ge \sqrt{2}")
    assert not same_set("(0, 1)", r"0 < x < 1 \text{ or } x > 5")
    assert not same_set("(0, 1)", "0 < x, y < 1")
    assert same_set(r"(0, 1) \cup \{2\}", r"0 < x < 1 \text{ or } 2 \le x \le 2")


def test_bounds_in_per_cent_are_numbers_and_a_set_of_equations_is_none_of_numbers():
    assert same_set(r"x \ge 2\%", r"x \ge 0.02") and not same_set(r"x \ge 2", r"x \ge 2\%")
    assert not same_set(r"\{a=2, a=3\}", r"a \ne 2, a \ne 3")
