"""From the replies of a step to the batches of its updates: packed, placed on the devices, with their log-probs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxreason.rl.generation import Collected, weigh
from jaxreason.rl.logprob_passes import add_logprobs, rewards_less_kl
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.rollouts import Packed, Rollouts, group_rewards, pack
from jaxreason.sharding import place_rows


def pack_batches(
    config: RLConfig, programs: Any, mesh: Mesh, collected: Collected
) -> tuple[list[Packed], list[Rollouts]]:
    """The mini-batches, here and on the devices; none if no group is trained on."""
    groups = collected.trained_groups
    num_batches = -(-len(groups) // config.mini_batch_prompts)
    if num_batches == 0:
        return [], []
    packed = pack(groups, collected.weights[collected.trained], num_batches, programs.layout)
    return packed, [place_rows(mesh, one.rollouts) for one in packed]


def add_scores(
    config: RLConfig,
    programs: Any,
    mesh: Mesh,
    collected: Collected,
    packed: Sequence[Packed],
    batches: Sequence[Rollouts],
    params: Any,
    reference: Any,
) -> tuple[Float[np.ndarray, "P G"], list[Rollouts]]:
    """The weights of all replies, and the batches with their log-probs, dispatched and not waited for.

    Only a KL term as reward is: advantages are made on the host of what the passes say.
    """
    batches = add_logprobs(config, programs, params, reference, batches)
    if not config.kl_as_reward or not batches:
        return collected.weights, batches
    chosen, groups = np.flatnonzero(collected.trained), collected.trained_groups
    rewards = rewards_less_kl(config, group_rewards(groups), packed, batches)
    weights = collected.weights.copy()
    weights[chosen] = weigh(config, groups, rewards)
    advantages = [place_rows(mesh, one.weighed(weights[chosen]).advantages) for one in packed]
    return weights, [b._replace(advantages=a) for b, a in zip(batches, advantages, strict=True)]
