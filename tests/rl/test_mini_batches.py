"""A step of RL that gives NaN: which update, on which questions, and its mini-batch in a file."""

import dataclasses
import json

import numpy as np
import pytest
from tiny_rl import OPTIMIZER, rl_config, rollouts_of, run, save_base, save_questions

from jaxreason.data.examples import Example
from jaxreason.rl.generation import Collected
from jaxreason.rl.mini_batches import failed_update
from jaxreason.rl.rollouts import RolloutGroup
from jaxreason.training.not_finite import NotFiniteStepError


@pytest.mark.slow
def test_the_update_that_failed_is_told_with_its_questions_and_its_mini_batch(tmp_path):
    hot = dataclasses.replace(OPTIMIZER, learning_rate=1e38)
    config = rl_config(save_questions(tmp_path), optimizer=hot, checkpoint_every=1)
    with pytest.raises(NotFiniteStepError) as caught:
        run(config, save_base(tmp_path), tmp_path / "run")
    message, folder = str(caught.value), tmp_path / "run" / "not_finite" / "step_1"
    lines = rollouts_of(tmp_path / "run", 1)
    trained = list(dict.fromkeys(line["id"] for line in lines if line["trained"]))
    ids = trained[: config.mini_batch_prompts]
    assert len(trained) > len(ids)  # there is another update after it
    assert message.startswith("step 1: ") and "update_norm=" in message
    assert (
        "The first tensor whose update has no finite norm, in the order of the network: " in message
    )
    assert f"In its batch: {', '.join(ids)}. The batch is in {folder}. No checkpoint" in message
    why, arrays = json.loads((folder / "why.json").read_text()), np.load(folder / "batch.npz")
    assert why["ids"] == ids
    said = [len(line["tokens"]) for line in lines if line["trained"] and line["id"] in ids]
    assert arrays["loss_mask"].sum() == sum(said)
    assert not (tmp_path / "run" / "metrics.jsonl").read_text()


def test_updates_go_over_the_mini_batches_in_turn():
    examples = [Example(name, "sums", (), "", "", {}) for name in "abcde"]
    groups = [RolloutGroup(0, example, (), ()) for example in examples]
    step = Collected(groups, [True, False, True, True, True], np.zeros((5, 1)), 1, {})
    good = {"loss": np.float32(1.0), "counts": np.ones(3), "not_finite": np.zeros((2, 4), bool)}
    bad = good | {"loss": np.float32("nan")}
    found = failed_update(step, ["first", "second"], [good, good, good, bad])
    assert (found.ids, found.batch) == (["d", "e"], "second")
    told = good | {"not_finite": np.array([[0, 0, 0, 0], [0, 0, 1, 0]], bool)}
    found = failed_update(step, ["first", "second"], [good, good, told, bad])
    assert (found.ids, found.batch) == (["a", "c"], "first")
    found = failed_update(step, ["first", "second"], [good, good])
    assert (found.ids, found.batch) == (list("abcde"), None)
