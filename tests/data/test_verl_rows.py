"""verl's rows of questions, as SimpleRL's files have them."""

import pytest

from jaxreason.data.conversions import verl
from jaxreason.data.rows import RowError, SourceRow

ASK = "\nPlease reason step by step, and put your final answer within \\boxed{}."
LOCAL = {
    "data_source": "simplelr",
    "prompt": [{"role": "user", "content": "What is $2^5$?" + ASK}],
    "reward_model": {"ground_truth": "32", "style": "rule"},
    "extra_info": {"answer": "32"},
}


def flat(columns):
    return next(verl([SourceRow("f", 1, columns)]))


def test_the_question_is_the_prompt_without_the_request_for_a_box():
    expected = {
        "question": "What is $2^5$?",
        "answer": "32",
        "level": None,
        "data_source": "simplelr",
    }
    assert flat(LOCAL).columns == expected


def test_a_column_with_the_question_comes_before_the_prompt():
    chat = "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"
    row = LOCAL | {"prompt": [{"role": "user", "content": chat}], "gt_answer": "32", "level": 5}
    assert flat(row).columns["question"] == "What?"
    assert flat(row | {"question": "Which?"}).columns["question"] == "Which?"
    assert flat(row).columns["level"] == 5


@pytest.mark.parametrize("gold", [None, "", "  "])
def test_a_row_without_a_gold_answer_is_a_bad_row(gold):
    row = flat(LOCAL | {"reward_model": {"ground_truth": gold}})
    assert isinstance(row.problem, RowError) and not row.columns


def test_a_gold_answer_of_zero_as_a_number_is_an_answer():
    row = flat(LOCAL | {"reward_model": {"ground_truth": 0}, "gt_answer": "1"})
    assert (row.problem, row.columns.get("answer")) == (None, "0")


def test_a_row_without_a_question_is_a_bad_row():
    assert flat({**LOCAL, "prompt": None}).problem.reason == "missing field"
    assert flat({**LOCAL, "prompt": []}).problem.reason == "missing field"


@pytest.mark.parametrize("name", ["extra_info", "reward_model"])
def test_a_text_where_an_object_should_be_makes_a_bad_row_and_not_the_end_of_reading(name):
    rows = [SourceRow("f", 1, LOCAL | {name: "rule"}), SourceRow("f", 2, LOCAL)]
    bad, good = verl(rows)
    assert str(bad.problem) == f"wrong type: {name!r}: expected an object, got str"
    assert good.columns["answer"] == "32"
