"""When a run validates, what it knows of that from files, and which step it chooses."""

import dataclasses
import json

import jax.numpy as jnp
import pytest

from jaxreason.errors import UserError
from jaxreason.results.training_files import validation_folder, validation_scores
from jaxreason.validation import Validation, ValidationConfig, check_validation

EVERY_TWO = ValidationConfig(every=2, benchmark="sums", choose=True)


class Asked:
    """Gives scores by step, and remembers for which it was called."""

    def __init__(self, scores, stops_at=None, asked=""):
        self.scores, self.steps, self.stops_at = scores, [], stops_at
        self.asked = asked

    def __call__(self, folder, identity, model, params, tokenizer, engine, check):
        self.steps.append(identity["step"])
        (folder / "samples.txt").write_text("asked")
        check()
        return self.scores[identity["step"]]


def weights(step):
    return {"kernel": jnp.full((2, 3), float(step))}


def validation(tmp_path, asked, config=EVERY_TWO, num_steps=5, stops=lambda: False):
    return Validation(config, "rl", asked, tmp_path, num_steps, stops)


def measure(run, step, params=None):
    return run.measure(step, None, weights(step) if params is None else params, None, None)


def test_it_is_due_before_the_first_step_every_n_and_after_the_last(tmp_path):
    run = validation(tmp_path, Asked({}))
    assert [step for step in range(6) if run.due(step)] == [0, 2, 4, 5]
    off = validation(tmp_path, None, ValidationConfig())
    assert not any(off.due(step) for step in range(6))
    assert off.measure(5, None, None, None, None) == {}
    assert off.kept(5) is None


def test_metrics_get_the_score_and_the_best_step_so_far_the_earliest_of_equals(tmp_path):
    run = validation(tmp_path, Asked({0: 0.9, 2: 0.25, 4: 0.5, 5: 0.5}))
    found = [measure(run, step) for step in (0, 1, 2, 3, 4, 5)]
    assert found == [
        {"validation/sums": 0.9},  # the base is no step of the run
        {},
        {"validation/sums": 0.25, "validation/best_step": 2},
        {},
        {"validation/sums": 0.5, "validation/best_step": 4},
        {"validation/sums": 0.5, "validation/best_step": 4},
    ]
    assert run.kept(3) == 2 and run.kept(5) == 4
    not_choosing = dataclasses.replace(EVERY_TWO, choose=False)
    assert validation(tmp_path, run._validator, not_choosing).kept(5) is None


def test_a_run_that_was_killed_asks_nothing_twice_and_knows_the_best(tmp_path):
    measure(validation(tmp_path, Asked({2: 0.75})), 2)
    again = Asked({4: 0.5})
    run = validation(tmp_path, again)
    assert measure(run, 2)["validation/sums"] == 0.75
    assert measure(run, 4) == {"validation/sums": 0.5, "validation/best_step": 2}
    assert again.steps == [4]


def test_a_validation_of_later_steps_that_are_made_again_is_not_the_best_so_far(tmp_path):
    run = validation(tmp_path, Asked({2: 0.25, 4: 0.75}))
    measure(run, 2), measure(run, 4)
    assert run.kept(2) == 2  # a run that resumes after step 2 has files of step 4


def test_other_weights_under_a_steps_number_are_asked_anew(tmp_path, caplog):
    measure(validation(tmp_path, Asked({2: 0.75})), 2)
    again = Asked({2: 0.25})
    assert measure(validation(tmp_path, again), 2, weights(7))["validation/sums"] == 0.25
    assert again.steps == [2]
    assert "other weights" in caplog.text


def test_another_question_under_a_steps_number_is_asked_anew(tmp_path):
    measure(validation(tmp_path, Asked({2: 0.75})), 2)
    (validation_folder(tmp_path, 2) / "old.txt").write_text("of the other benchmark")
    again = Asked({2: 0.25})
    other = dataclasses.replace(EVERY_TWO, benchmark="products", every=1)
    assert measure(validation(tmp_path, again, other), 2)["validation/products"] == 0.25
    assert not (validation_folder(tmp_path, 2) / "old.txt").exists()


def test_scores_of_other_questions_are_neither_the_best_nor_the_base(tmp_path, caplog):
    """The questions are those of the recipe's section `eval`, which may change between two starts."""
    before = validation(tmp_path, Asked({0: 1.0, 2: 0.75, 4: 0.5}, asked="easy"))
    assert [measure(before, step) for step in (0, 2)][1]["validation/best_step"] == 2
    run = validation(tmp_path, Asked({4: 0.25, 5: 0.125}, asked="hard"), num_steps=5)
    assert measure(run, 4) == {"validation/sums": 0.25, "validation/best_step": 4}
    assert "steps 0, 2 were asked other questions" in caplog.text
    assert measure(run, 5)["validation/best_step"] == 4 and run.kept(5) == 4
    assert caplog.text.count("other questions") == 1
    run.tell_choice(4)
    assert "did better" not in caplog.text
    assert before.kept(5) == 2


def test_a_record_that_does_not_say_what_was_asked_holds(tmp_path):
    measure(validation(tmp_path, Asked({2: 0.75})), 2)
    path = validation_folder(tmp_path, 2) / "validation.json"
    assert "asked" not in json.loads(path.read_text())["made_with"]
    again = Asked({4: 0.5}, asked="hard")
    run = validation(tmp_path, again)
    assert measure(run, 2)["validation/sums"] == 0.75
    assert measure(run, 4)["validation/best_step"] == 2 and again.steps == [4]


def test_a_signal_ends_it_without_a_score_and_leaves_what_was_sampled(tmp_path):
    stopped = validation(tmp_path, Asked({2: 0.75}), stops=lambda: True)
    assert measure(stopped, 2) is None
    assert validation_scores(tmp_path) == {}
    assert (validation_folder(tmp_path, 2) / "samples.txt").read_text() == "asked"
    assert measure(validation(tmp_path, Asked({2: 0.5})), 2)["validation/sums"] == 0.5


def test_the_record_says_of_which_weights_the_score_is(tmp_path):
    measure(validation(tmp_path, Asked({2: 0.5})), 2)
    record = json.loads((validation_folder(tmp_path, 2) / "validation.json").read_text())
    assert record["score"] == 0.5
    assert record["made_with"]["benchmark"] == "sums" and record["made_with"]["step"] == 2
    assert len(record["made_with"]["weights"]) == 8


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ValidationConfig(every=5), r"rl\.validation\.benchmark: expected the name"),
        (ValidationConfig(choose=True), r"rl\.validation\.choose=True: .*every of at least 1"),
    ],
)
def test_a_section_that_asks_nothing_or_cannot_choose_is_refused(config, message):
    with pytest.raises(UserError, match=message):
        check_validation(config, "rl")


def test_nobody_to_ask_is_refused(tmp_path):
    with pytest.raises(UserError, match="nobody was given who asks"):
        validation(tmp_path, None)
