"""An answer that no reply could match is found before anything is asked; graders would give 0 to every reply."""

import pytest

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.gold_answers import CHECKS, check_answers, unmatched
from jaxreason.tasks.registry import TASKS

FOUR = ["one", "two", "three", "four"]


def example(answer, choices=FOUR, number=1, task="multiple_choice"):
    message = {"role": "user", "content": "Which?"}
    known = {"choices": choices, "where": f"own.jsonl:{number}"}
    return Example(f"q{number}", task, (message,), answer, "own", known)


@pytest.mark.parametrize("answer", ["2", "F", "(B)", "two", ""])
def test_an_answer_that_is_no_label_is_refused_with_its_row(answer):
    with pytest.raises(UserError, match=r"^own.jsonl:2: example 'q2': .*\(1 of 2 questions\)"):
        check_answers("multiple_choice", [example("B"), example(answer, number=2)])


@pytest.mark.parametrize(
    "choices",
    [
        "A, B",
        ["one", None],
        {"label": ["A", None], "text": ["1", "2"]},
        7,
        [{"label": "A", "text": "1"}],
    ],
)
def test_choices_that_are_no_list_or_have_nulls_are_refused(choices):
    with pytest.raises(UserError, match="`choices` must be a list of texts"):
        check_answers("multiple_choice", [example("A", choices)])


def test_labels_of_any_case_and_numbers_as_choices_are_taken():
    check_answers(
        "multiple_choice", [example("b "), example("1", {"label": ["1", "2"], "text": [5, 6]})]
    )
    assert TASKS["multiple_choice"].score(example("B", [1, 2, 3]), "Answer: B")["accuracy"] == 1


def test_without_choices_the_message_says_where_other_labels_come_from():
    with pytest.raises(UserError, match=r"'G'; expected .* A, B, C, D, E \(.*`choices`.*metadata"):
        check_answers("multiple_choice", [example("G", None)])


@pytest.mark.parametrize("task", [name for name in TASKS if not TASKS[name].runs_code])
def test_every_task_that_compares_with_an_answer_refuses_a_question_without_one(task):
    if task.startswith("ifeval"):
        assert task not in CHECKS
        return
    with pytest.raises(UserError):
        check_answers(task, [example("", {"label": ["A"], "text": ["one"]}, task=task)])


def test_the_grader_refuses_such_an_answer_too_as_training_grades_without_this_check():
    with pytest.raises(
        UserError, match="the answer is '2'; expected the label of a choice: A, B, C, D"
    ):
        TASKS["multiple_choice"].score(example("2"), "Answer: B")


def test_questions_of_training_are_looked_at_by_the_task_of_each():
    right = [example("B"), example("7", task="last_number")]
    assert unmatched(right) == ""
    told = unmatched(
        [*right, example("seven", task="last_number", number=3), example("", number=4)]
    )
    assert told.startswith("own.jsonl:3: example 'q3': the answer is 'seven'")
    assert told.endswith("by the task 'last_number' (2 of 4 questions)")
