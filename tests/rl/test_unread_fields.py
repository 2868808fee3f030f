"""Which fields of `rl` are not read beside which others, as the fields' own texts say."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_rl import LOSS

from jaxreason.rl.policy_losses import POLICY_LOSSES, policy_loss
from jaxreason.rl.rewards import RewardConfig, overlong_punishment

RNG = np.random.default_rng(0)
# The sequences' ratios are above both clips, above the dual clip, and below both clips.
OLD = jnp.asarray(-RNG.exponential(2.0, (4, 6)), jnp.float32)
NEW = OLD + jnp.asarray([[1.0], [2.0], [1.0], [-1.0]]) + jnp.asarray(RNG.normal(0, 0.1, (4, 6)))
ADVANTAGES = jnp.asarray([1.0, -1.0, 2.0, -2.0])
OTHERS = {"clip_low": 0.9, "clip_high": 5.0, "dual_clip": 1.5}


def loss_of(name, **changes):
    settings = dataclasses.replace(LOSS, name=name, **changes)
    found = policy_loss(
        POLICY_LOSSES[name], NEW, OLD, ADVANTAGES, jnp.ones_like(NEW), settings, ref_logprobs=OLD
    )
    return float(found[0])


@pytest.mark.parametrize("name", POLICY_LOSSES)
def test_clips_are_read_by_the_losses_that_their_fields_name(name):
    read = {field for field, x in OTHERS.items() if loss_of(name, **{field: x}) != loss_of(name)}
    expected = {"reinforce": set(), "cispo": {"clip_low", "clip_high"}}
    assert read == expected.get(name, set(OTHERS))


def test_an_estimator_is_read_only_with_a_coefficient():
    for estimator in ("k1", "k2"):
        assert loss_of("clipped", kl_estimator=estimator) == loss_of("clipped")
        with_kl = loss_of("clipped", kl_coefficient=0.5)
        assert loss_of("clipped", kl_estimator=estimator, kl_coefficient=0.5) != with_kl


def test_a_penalty_is_read_only_with_a_buffer():
    penalty = RewardConfig(overlong_penalty=2.0).overlong_penalty
    assert overlong_punishment(8, 8, 0, penalty) == 0.0
    assert overlong_punishment(8, 8, 2, penalty) == -2.0
