"""A metrics file that lost, doubled or mixed up lines is refused, with file and line."""

import json

import pytest

from jaxreason.errors import UserError
from jaxreason.results.training_files import read_metrics


def write(path, steps, **more):
    path.write_text("".join(json.dumps({"step": s, "stage": "rl"} | more) + "\n" for s in steps))
    return path


def test_the_lines_of_the_steps_made_are_returned_and_those_of_later_ones_are_not(tmp_path):
    path = write(tmp_path / "metrics.jsonl", range(1, 8), loss=0.5)
    assert [line["step"] for line in read_metrics(path, 5)] == [1, 2, 3, 4, 5]
    assert len(read_metrics(path)) == 7
    assert read_metrics(path, 0) == []


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((1, 2, 4, 5, 6), r"metrics\.jsonl, line 3: expected step 3, got 4"),
        ((1, 2, 2, 3, 4, 5), r"line 3: expected step 3, got 2"),
        ((2, 1, 3, 4, 5), r"line 1: expected step 1, got 2"),
        ((1, 2, 3), r"metrics\.jsonl: ends at step 3, but the run made 5"),
        ((), r"ends at step 0, but the run made 5"),
        ((1, True, 3, 4, 5), r"line 2: expected step 2, got True"),
        ((1, 2, 3, 4, None), r"line 5: expected step 5, got None"),
    ],
)
def test_a_step_that_is_lost_doubled_or_out_of_order_is_named(tmp_path, steps, message):
    with pytest.raises(UserError, match=message):
        read_metrics(write(tmp_path / "metrics.jsonl", steps), 5)


def test_a_value_that_is_no_number_and_a_missing_file_are_named(tmp_path):
    path = write(tmp_path / "metrics.jsonl", (1, 2), loss="0.5")
    with pytest.raises(UserError, match=r"line 1, loss: expected a number, got '0\.5'"):
        read_metrics(path)
    with pytest.raises(UserError, match=r"other\.jsonl: not found"):
        read_metrics(tmp_path / "other.jsonl")
    path.write_text('[1]\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"line 1: expected an object, got \[1\]"):
        read_metrics(path)
