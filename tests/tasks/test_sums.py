"""The sums of the SmolLM2 study: traces that add up, and splits without a common question."""

import dataclasses

import pytest

from jaxreason.errors import UserError
from jaxreason.procedural import sums

CONFIG = sums.SumsConfig(0, 600, 2, 2, 1, 1, held_out=1, parts=4)


def test_a_trace_walks_through_the_running_totals():
    trace = sums.make_trace("4 - 9 + 12", "7")
    assert trace == "Start with 4. Subtract 9: 4 - 9 = -5. Add 12: -5 + 12 = 7. The answer is 7."


def test_a_trace_that_does_not_lead_to_the_answer_is_refused():
    with pytest.raises(ValueError, match="works out as -5, but its answer is 5"):
        sums.make_trace("4 - 9", "5")


def test_every_answer_is_what_python_computes_and_no_question_is_in_both_files():
    files = sums.make_sums_files(CONFIG)
    for rows in files.values():
        assert all(eval(row["expression"]) == int(row["answer"]) for row in rows)
    train, test = ({row["question"] for row in rows} for rows in files.values())
    assert not train & test
    assert 100 < len(train) + len(test) <= 200
    assert len(train) > 2 * len(test) > 0


def test_the_files_are_a_function_of_the_configuration():
    assert sums.make_sums_files(CONFIG) == sums.make_sums_files(CONFIG)
    assert sums.make_sums_files(
        sums.SumsConfig(1, 600, 2, 2, 1, 1, held_out=1, parts=4)
    ) != sums.make_sums_files(CONFIG)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_terms": 3}, "min_terms=3: expected at most sums.max_terms=2"),
        ({"min_digits": 2}, "min_digits=2: expected at most sums.max_digits=1"),
        ({"held_out": 4}, "held_out=4: expected less than sums.parts=4"),
    ],
)
def test_limits_that_cross_and_a_split_without_training_are_refused(changes, message):
    with pytest.raises(UserError, match=f"^sums.{message}"):
        sums.make_sums_files(dataclasses.replace(CONFIG, **changes))
