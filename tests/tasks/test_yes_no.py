import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks import yes_no
from jaxreason.tasks.registry import TASKS, summarize

GOLDS = ["yes", "yes", "no", "no", "no", "no"]


def examples(golds=GOLDS):
    return [Example(str(i), "halueval", (), gold, "", {}) for i, gold in enumerate(golds)]


def metrics(said, golds=GOLDS):
    items = examples(golds)
    rows = [yes_no.score(item, one) for item, one in zip(items, said, strict=True)]
    return yes_no.summarize(items, rows)


def test_metrics_of_mixed_answers_by_hand():
    assert metrics([True, None, True, False, False, False]) == pytest.approx(
        {
            "accuracy": 4 / 6,
            "balanced_accuracy": (1 / 2 + 3 / 4) / 2,
            "f1_yes": 2 * (1 / 2) * (1 / 2) / (1 / 2 + 1 / 2),
            "yes": 2 / 6,
            "answered": 5 / 6,
            "accuracy_always_yes": 2 / 6,
            "accuracy_always_no": 4 / 6,
            "f1_yes_always_yes": 2 * (2 / 6) / (2 / 6 + 1),
        }
    )


def test_constant_answers_have_the_balanced_accuracy_of_chance():
    for said in (True, False):
        found = metrics([said] * 6)
        assert found["balanced_accuracy"] == 0.5
        assert found["accuracy"] == found[f"accuracy_always_{'yes' if said else 'no'}"]
    assert metrics([True] * 6)["f1_yes"] == metrics([None] * 6)["f1_yes_always_yes"] > 0
    assert metrics([False] * 6)["f1_yes"] == 0.0
    assert metrics([None] * 6)["balanced_accuracy"] == 0.0


def test_a_set_with_one_gold_answer_is_balanced_over_that_one():
    assert metrics([True, False], ["no", "no"])["balanced_accuracy"] == 0.5


def test_samples_that_could_not_be_graded_are_left_out_of_a_summary():
    items = examples()
    rows = [yes_no.score(item, False) for item in items]
    rows[0] = rows[5] = {}
    found = summarize(TASKS["halueval"], items, rows)
    assert found["accuracy"] == 3 / 4
    assert found["accuracy_always_yes"] == 1 / 4
    with pytest.raises(ValueError, match="nothing to summarize"):
        summarize(TASKS["halueval"], items, [{}] * 6)
