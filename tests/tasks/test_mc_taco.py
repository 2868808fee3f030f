import csv
import math
from pathlib import Path

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.registry import TASKS, summarize

TEST_SET = Path(__file__).parents[3] / "shared/data/general/mc_taco_test.tsv"
TASK, PAPER = TASKS["mc_taco"], TASKS["mc_taco_paper"]
GOLD = {"q1": ["no", "no", "yes"], "q2": ["no", "no"], "q3": ["yes", "no"]}


def examples() -> list[Example]:
    return [
        Example(f"{q}-{i}", "mc_taco", (), gold, "", {"sentence": "s", "question": q})
        for q, golds in GOLD.items()
        for i, gold in enumerate(golds)
    ]


LIKELY = {"no": (-1.0, -2.0), "yes": (-2.0, -1.0)}
CONSTANTS = {
    "accuracy_always_yes": 2 / 7,
    "accuracy_always_no": 5 / 7,
    "f1_yes_always_yes": 2 * (2 / 7) / (2 / 7 + 1),
    "question_em_always_no": 1 / 3,
    "question_em_always_yes": 0.0,
    "question_f1_always_no": 1 / 3,
    "question_f1_always_yes": (1 / 2 + 0 + 2 / 3) / 3,  # precision 1/3, 0, 1/2; recall 1
}


def metrics(chosen: list[str]) -> dict[str, float]:
    items = examples()
    rows = [TASK.score(e, LIKELY[c]) for e, c in zip(items, chosen, strict=True)]
    return summarize(TASK, items, rows)


def test_no_and_yes_are_the_continuations():
    assert TASK.kind == "choose"
    assert TASK.choices(examples()[0]) == ("no", "yes")


def test_a_constant_no_is_right_about_the_noes_only():
    assert metrics(["no"] * 7) == pytest.approx(
        {
            "accuracy": 5 / 7,
            "balanced_accuracy": 0.5,
            "question_em": 1 / 3,  # q2
            "question_f1": 1 / 3,  # q2: precision and recall 1 by definition; q1, q3: recall 0
            "yes": 0.0,
            "answered": 1.0,
            "f1_yes": 0.0,
        }
        | CONSTANTS
    )


def test_metrics_of_mixed_answers_by_hand():
    assert metrics(["no", "yes", "yes", "no", "no", "yes", "yes"]) == pytest.approx(
        {
            "accuracy": 5 / 7,
            "balanced_accuracy": (2 / 2 + 3 / 5) / 2,
            "question_em": 1 / 3,
            "question_f1": (2 / 3 + 1 + 2 / 3) / 3,  # q1, q3: precision 1/2, recall 1
            "yes": 4 / 7,
            "answered": 1.0,
            "f1_yes": 2 * (2 / 4) * 1 / (2 / 4 + 1),
        }
        | CONSTANTS
    )


def test_everything_right_is_one_everywhere_but_in_the_share_of_yes():
    scores = metrics([gold for golds in GOLD.values() for gold in golds])
    assert scores.pop("yes") == pytest.approx(2 / 7)
    assert {value for name, value in scores.items() if name not in CONSTANTS} == {1.0}


def test_the_likelier_of_no_and_yes_is_chosen_and_a_tie_is_no():
    item = examples()[2]
    assert item.answer == "yes"
    for logprobs, chosen in (
        ((-1.0, -2.0), "no"),
        ((-2.0, -1.0), "yes"),
        ((-1.0, -1.0), "no"),
        ((-math.inf, -50.0), "yes"),
        ((-math.inf, -math.inf), "no"),
    ):
        assert TASK.extract(item, logprobs) == PAPER.extract(item, logprobs) == chosen
        right = float(chosen == "yes")
        assert TASK.score(item, logprobs) == {
            **{"accuracy": right, "balanced_accuracy": right},
            **{"yes": right, "answered": 1.0},
        }
        assert PAPER.score(item, logprobs) == {"accuracy": right}


def test_log_likelihoods_that_are_no_numbers_or_too_few_are_named():
    for bad in ((math.nan, -1.0), (-1.0,), ()):
        with pytest.raises(ValueError, match=r"'q1-0': .*log-likelihood"):
            TASK.score(examples()[0], bad)


def test_a_wrong_label_and_missing_metadata_are_errors():
    with pytest.raises(ValueError, match="'1': the answer must be yes or no, got 'maybe'"):
        TASK.score(Example("1", "mc_taco", (), "maybe", "", {}), LIKELY["no"])
    bare = Example("1", "mc_taco", (), "no", "", {"sentence": "s"})
    with pytest.raises(ValueError, match="needs metadata 'sentence' and 'question', got"):
        summarize(TASK, [bare], [TASK.score(bare, LIKELY["no"])])


def test_samples_that_could_not_be_graded_are_left_out():
    items = examples()
    rows = [TASK.score(item, LIKELY[item.answer]) for item in items]
    rows[0] = {}
    found = summarize(TASK, items, rows)
    assert found["accuracy"] == found["question_em"] == 1.0
    assert found["accuracy_always_no"] == 4 / 6


@pytest.mark.skipif(not TEST_SET.is_file(), reason="needs the test set of MC-TACO")
def test_constant_answers_on_the_test_set_score_what_the_study_saw():
    with TEST_SET.open(encoding="utf-8", newline="") as file:
        lines = [*csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    items = [
        Example(str(i), "mc_taco", (), label, "", {"sentence": sentence, "question": question})
        for i, (sentence, question, _, label, _) in enumerate(lines)
    ]
    assert len(items) == 9442
    always_no = summarize(TASK, items, [TASK.score(item, LIKELY["no"]) for item in items])
    assert 100 * always_no["accuracy"] == pytest.approx(66.13, abs=0.005)
    assert 100 * always_no["accuracy_always_yes"] == pytest.approx(33.87, abs=0.005)
    assert always_no["balanced_accuracy"] == 0.5
    assert always_no["question_em"] == always_no["question_em_always_no"]
    assert always_no["question_em"] == pytest.approx(0.174, abs=0.0005)
    assert always_no["question_f1"] == pytest.approx(0.174, abs=0.0005)
    paper = [PAPER.score(item, LIKELY["no"]) for item in items]
    assert summarize(PAPER, items, paper) == {"accuracy": always_no["accuracy"]}
