import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.registry import TASKS, summarize

TASK = TASKS["mc_taco"]
GOLD = {"q1": ["no", "no", "yes"], "q2": ["no", "no"], "q3": ["yes", "no"]}


def examples() -> list[Example]:
    return [
        Example(f"{q}-{i}", "mc_taco", (), gold, "", {"sentence": "s", "question": q})
        for q, golds in GOLD.items()
        for i, gold in enumerate(golds)
    ]


def metrics(chosen: list[str]) -> dict[str, float]:
    items = examples()
    likely = {"no": (-1.0, -2.0), "yes": (-2.0, -1.0)}
    scores = [TASK.score(e, likely[c]) for e, c in zip(items, chosen, strict=True)]
    return summarize(TASK, items, scores)


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
        }
    )


def test_metrics_of_mixed_answers_by_hand():
    assert metrics(["no", "yes", "yes", "no", "no", "yes", "yes"]) == pytest.approx(
        {
            "accuracy": 5 / 7,
            "balanced_accuracy": (2 / 2 + 3 / 5) / 2,
            "question_em": 1 / 3,
            "question_f1": (2 / 3 + 1 + 2 / 3) / 3,  # q1, q3: precision 1/2, recall 1
            "yes": 4 / 7,
        }
    )


def test_everything_right_is_one_everywhere_but_in_the_share_of_yes():
    scores = metrics([gold for golds in GOLD.values() for gold in golds])
    assert scores.pop("yes") == pytest.approx(2 / 7)
    assert set(scores.values()) == {1.0}


def test_a_wrong_label_and_missing_metadata_are_errors():
    with pytest.raises(ValueError, match="must be no or yes, got 'maybe'"):
        TASK.score(Example("1", "mc_taco", (), "maybe", "", {}), (0.0, -1.0))
    bare = Example("1", "mc_taco", (), "no", "", {"sentence": "s"})
    with pytest.raises(ValueError, match="needs metadata 'sentence' and 'question', got"):
        summarize(TASK, [bare], [TASK.score(bare, "no")])
