"""Alpaca's columns: a question in two of them, of which the second is often empty."""

import pytest

from jaxreason.data.conversions import alpaca
from jaxreason.data.rows import SourceRow


def prompts(*rows):
    return [row.columns.get("prompt") for row in alpaca(SourceRow("a", 1, row) for row in rows)]


@pytest.mark.parametrize("empty", ["", None, "  ", float("nan")])
def test_an_instruction_without_input_is_the_question_alone(empty):
    assert prompts({"instruction": "Name a prime. ", "input": empty}) == ["Name a prime."]
    assert prompts({"instruction": "Name a prime."}) == ["Name a prime."]


def test_an_input_stands_below_its_instruction_also_if_it_is_a_number():
    rows = {"instruction": "Double it.", "input": 0}, {"instruction": "Sort.", "input": "b\na\n"}
    assert prompts(*rows) == ["Double it.\n\n0", "Sort.\n\nb\na"]


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"input": "1"}, "'instruction' is absent"),
        ({"instruction": " ", "input": "1"}, "'instruction'"),
        ({"instruction": "Add.", "input": ["1"]}, "'input': expected text, got list"),
        ({"instruction": "And?", "input": "", "history": [["Hi", "Hello"]]}, "'history': earlier"),
    ],
)
def test_a_row_that_cannot_be_put_together_is_a_bad_row(row, detail):
    (found,) = alpaca([SourceRow("a", 1, row)])
    assert str(found.problem.detail).startswith(detail)
