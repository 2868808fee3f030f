"""Numbers in words, and the words behind a number that make it another one."""

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.number_words import in_digits, spelled_number, whole_number
from jaxreason.tasks.registry import TASKS


def scores(gold, answer):
    example = Example("x", "math", ({"role": "user", "content": "?"},), gold, "t", {})
    reply = rf"\boxed{{{answer}}}"
    return [TASKS[name].score(example, reply)["accuracy"] for name in ("math", "math_strict")]


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("a hundred and two", 102),
        ("one million two hundred thousand", 1_200_000),
        ("ninety-nine", 99),
    ],
)
def test_whole_numbers_in_words_have_their_value(words, number):
    assert whole_number(words) == number
    assert in_digits(rf"\text{{{words}}}") in (str(number), rf"\text{{{words}}}")
    assert spelled_number(words) == str(number)


CHANGED = [
    "sixteenths",
    "twentieths",
    "fold",
    "millionths",
    "quadrillion",
    "grand",
    "below",
    "squared",
]


@pytest.mark.parametrize("word", CHANGED)
def test_a_word_that_changes_the_number_before_it_is_no_thing(word):
    assert scores("3", rf"\text{{three {word}}}") == [0, 0]
    assert spelled_number(f"three {word}") is None


@pytest.mark.parametrize("word", ["sixteenths", "twentieths", "fold", "quadrillion", "grand"])
def test_nor_is_it_a_unit_behind_digits(word):
    assert scores("3", rf"3 \text{{ {word}}}") == [0, 0]


@pytest.mark.parametrize("word", ["months", "paths", "teeth", "cloths", "friends", "deaths"])
def test_things_that_end_like_ordinals_are_things(word):
    assert scores("12", rf"\text{{twelve {word}}}") == [1, 1]
    assert spelled_number(f"twelve {word}") == "12"
    assert scores("12", rf"12 \text{{ {word}}}") == [1, 1]


def test_a_refusal_counts_with_small_and_capital_letters():
    for gold in ("Not enough information", "Neither", "Never"):
        assert scores(rf"\text{{{gold}}}", rf"\text{{{gold.lower()}}}") == [1, 1]


def test_words_behind_per_and_words_of_squares_are_no_other_unit():
    assert scores(r"\$5", r"5 \text{ per ticket}") == [1, 1]
    assert scores(r"12 \text{ cm}^2", r"12 \text{ sq. units}") == [1, 1]


def test_what_is_left_to_do_is_not_written_out():
    assert scores("5", r"\frac{d}{dx}(5x)")[1] == 0
    assert scores(r"\text{A and B}", r"\text{A or B}") == [0, 0]
    assert scores(r"\text{III and I}", r"\text{I and III}") == [1, 1]
    powers = "5" + "^2" * 850
    assert scores("7" * 900, powers) == [0, 0]
