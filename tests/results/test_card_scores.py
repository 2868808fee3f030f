"""Scores on the card of a run's model: written from scores.json, replaced by newer ones, and nowhere else."""

import json

import pytest
from etils import epath

from jaxreason.results.card_scores import NO_SCORES, has_marks, update_scores, without_scores

CARD = f"---\ntags: [a]\n---\n\n# A\n\n{NO_SCORES}\nWords of the user.\n"


def row(mean, primary=True, **changes):
    value = {"benchmark": "math500", "label": "MATH500", "prompt": "p", "grader": "math"}
    value |= {"variant": "robust", "group": "math", "decoding": "greedy", "metric": "accuracy"}
    value |= {"primary": primary, "mean": mean, "low": 0.1, "high": None, "n": 40, "errors": 2}
    return value | changes


def write_scores(run, *rows):
    folder = epath.Path(run) / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    value = {"rows": list(rows), "groups": [], "confidence": 0.95}
    (folder / "scores.json").write_text(json.dumps(value))
    return folder


@pytest.fixture
def run(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text(CARD)
    return tmp_path


def card(run):
    return (run / "model" / "README.md").read_text()


def test_primary_scores_are_written_between_the_marks_and_replaced(run):
    update_scores(write_scores(run, row(0.5), row(0.9, primary=False), row(None)))
    assert "| MATH500 | robust | greedy | accuracy | 50.0 | 10.0 to - | 40 | 2 |\n" in card(run)
    assert "90.0" not in card(run) and card(run).count("MATH500") == 1
    assert "95% intervals" in card(run) and card(run).endswith("Words of the user.\n")
    update_scores(write_scores(run, row(0.25)), known=True)
    assert "| 25.0 |" in card(run) and "50.0" not in card(run)
    assert without_scores(card(run)) == CARD


def test_scores_of_which_it_is_not_known_that_they_are_the_models_are_not_written(run):
    update_scores(write_scores(run, row(0.5)), known=True)
    assert card(run) == CARD


def test_a_card_that_has_lost_one_of_the_marks_stays(run):
    for mark in NO_SCORES.splitlines():
        rewritten = CARD.replace(f"{mark}\n", "")
        (run / "model" / "README.md").write_text(rewritten)
        update_scores(write_scores(run, row(0.5)))
        assert card(run) == rewritten == without_scores(rewritten) and not has_marks(rewritten)


def test_a_card_that_was_rewritten_stays_and_one_that_is_missing_is_not_made(run):
    (run / "model" / "README.md").write_text("mine")
    update_scores(write_scores(run, row(0.5)))
    assert card(run) == "mine"
    (run / "model" / "README.md").unlink()
    update_scores(run / "evaluation")
    assert not (run / "model" / "README.md").exists()


def test_without_a_finished_evaluation_nothing_is_written(run):
    update_scores(epath.Path(run) / "evaluation")
    assert card(run) == CARD


def test_marks_in_what_a_card_quotes_are_no_place_for_scores(run):
    quoted = f"| {NO_SCORES.replace(chr(10), ' ')} | a prompt |\n\n## How it is asked\n\n"
    (run / "model" / "README.md").write_text(quoted + CARD)
    update_scores(write_scores(run, row(0.5, label="a|b\n<c>")))
    assert card(run).startswith(quoted + CARD.partition("<!--")[0])
    assert "| a\\|b &lt;c> | robust | greedy | accuracy | 50.0 |" in card(run)
    assert without_scores(card(run)) == quoted + CARD
