"""The mini-batches of a step: their weights with a KL term in the reward, and the one of an update that gave NaN."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_rollouts import make_group
from tiny_rl import (
    LOSS,
    OPTIMIZER,
    mesh_of,
    rl_config,
    rollouts_of,
    run,
    save_base,
    save_questions,
)

from jaxreason.data.examples import Example
from jaxreason.data.packing import make_layout
from jaxreason.rl.generation import Collected, weigh
from jaxreason.rl.mini_batches import add_scores, failed_update, pack_batches
from jaxreason.rl.rollouts import RolloutGroup, group_rewards
from jaxreason.rl.update import UpdatePrograms
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


def test_a_kl_in_the_reward_weighs_groups_that_have_fewer_replies_than_one_that_is_not_trained_on():
    loss = dataclasses.replace(LOSS, kl_coefficient=0.5, kl_place="reward", kl_estimator="k1")
    config, mesh = rl_config("none", policy_loss=loss, advantage="dr_grpo"), mesh_of(1)
    groups = [make_group("a", (1, 2), [[5], [6], [7]]), make_group("b", (1, 2), [[5, 6], [7]])]
    weights = weigh(config, groups, group_rewards(groups))
    step = Collected(groups, [False, True], weights, 1, {})
    # At each token the policy's log-prob is 2 and the reference's 0, so the KL of a token is 2.
    programs = UpdatePrograms(
        make_layout(2, 8, 16, 1),
        None,
        lambda params, batch: jnp.full(batch.tokens.shape, 2.0),
        lambda params, batch: jnp.zeros(batch.tokens.shape),
    )
    with jax.set_mesh(mesh):
        packed, batches = pack_batches(config, programs, mesh, step)
        found, (batch,) = add_scores(config, programs, mesh, step, packed, batches, None, None)
    # Rewards 0 and 1 less 0.5 * (4, 2) are -2 and 0; their mean is -1.
    assert found.tolist() == [[-1.0, 0.0, 1.0], [-1.0, 1.0, 0.0]]
    assert sorted(set(np.asarray(batch.advantages).ravel())) == [-1.0, 0.0, 1.0]
