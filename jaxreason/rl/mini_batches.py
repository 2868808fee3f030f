"""Turns the replies of a step into the batches of its updates: packed, placed on devices, with log-probs.

It also finds the batch that gave a number which is not finite.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxreason.rl.generation import Collected, weigh
from jaxreason.rl.policy_losses import kl_to_reference
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.rollouts import Packed, Rollouts, group_rewards, pack
from jaxreason.rl.update import UpdatePrograms, needs_old, needs_reference
from jaxreason.sharding import place_rows, to_host
from jaxreason.training.not_finite import Failed, wrong_numbers
from jaxreason.training.train_step import NOT_FINITE


def pack_batches(
    config: RLConfig, programs: UpdatePrograms, mesh: Mesh, collected: Collected
) -> tuple[list[Packed], list[Rollouts]]:
    """Returns the mini-batches on the host and on the devices; none if no group is trained on."""
    groups = collected.trained_groups
    num_batches = -(-len(groups) // config.mini_batch_prompts)
    if num_batches == 0:
        return [], []
    # All batches of a run have one shape, so that the update is compiled once.
    packed = pack(groups, collected.weights[collected.trained], num_batches, programs.layout)
    return packed, [place_rows(mesh, one.rollouts) for one in packed]


def add_scores(
    config: RLConfig,
    programs: UpdatePrograms,
    mesh: Mesh,
    collected: Collected,
    packed: Sequence[Packed],
    batches: Sequence[Rollouts],
    params: Any,
    reference: Any,
) -> tuple[Float[np.ndarray, "P G"], list[Rollouts]]:
    """Returns the weights of all replies, and the batches with their log-probs, dispatched but not waited for.

    Only with a KL term in the reward does it wait: the advantages are then computed on the host from the log-probs.
    """
    batches = add_logprobs(config, programs, params, reference, batches)
    if not config.kl_as_reward or not batches:
        return collected.weights, batches
    # The KL is part of the reward here, and advantages compare the rewards of a group. So they are computed again on
    # the host, after the passes have given the log-probs that the KL needs.
    # The rewards are those of all groups: the trained ones alone may all have fewer replies than another one.
    chosen, rewards = np.flatnonzero(collected.trained), group_rewards(collected.groups)
    rewards[chosen] = rewards_less_kl(config, rewards[chosen], packed, batches)
    weights = collected.weights.copy()
    weights[chosen] = weigh(config, collected.groups, rewards)[chosen]
    advantages = [place_rows(mesh, one.weighed(weights[chosen]).advantages) for one in packed]
    return weights, [b._replace(advantages=a) for b, a in zip(batches, advantages, strict=True)]


def add_logprobs(
    config: RLConfig,
    programs: UpdatePrograms,
    params: Any,
    reference: Any,
    batches: Sequence[Rollouts],
) -> list[Rollouts]:
    """Adds the trainer's log-probs before any update, and those of the reference, if they are needed.

    Args:
      config: the recipe's section.
      programs: has `logprob_pass` and `reference_pass`.
      params: parameters of the policy.
      reference: parameters of the reference, or None.
      batches: the batches on the devices.
    """
    bare = list(batches)
    if needs_old(config):
        # From the parameters before any update: the ratio of every later update is relative to these log-probs.
        old = [programs.logprob_pass(params, b) for b in bare]
        batches = [b._replace(old_logprobs=x) for b, x in zip(batches, old, strict=True)]
    if needs_reference(config):
        found = [programs.reference_pass(reference, b) for b in bare]
        batches = [b._replace(ref_logprobs=x) for b, x in zip(batches, found, strict=True)]
    return list(batches)


def rewards_less_kl(
    config: RLConfig,
    rewards: Float[np.ndarray, "P G"],
    packed: Sequence[Packed],
    batches: Sequence[Rollouts],
) -> Float[np.ndarray, "P G"]:
    """Returns the rewards of the packed groups minus the KL term, summed over each reply, as in verl."""
    less = rewards.copy()
    for one, batch in zip(packed, batches, strict=True):
        penalty = kl_to_reference(
            config.policy_loss, batch.old_logprobs, batch.ref_logprobs, batch.loss_mask
        )
        for reply, total in one.sums(to_host(penalty)).items():
            less[reply] -= config.policy_loss.kl_coefficient * total
    return less


def failed_update(
    collected: Collected, batches: Sequence[Rollouts], measured: Sequence[dict[str, Any]]
) -> Failed:
    """Finds the first update of a step that measured NaN or infinity, and its mini-batch.

    Args:
      collected: the step's groups.
      batches: its mini-batches.
      measured: the measurements of each update; the updates go over the mini-batches in turn.
    """
    trained = [group.example.id for group in collected.trained_groups]
    for number, found in enumerate(measured):
        if _wrong(found):
            # The updates go over the batches in turn, once for each epoch on them.
            index = number % len(batches)
            share = np.array_split(np.arange(len(trained)), len(batches))[index]
            return Failed([trained[i] for i in share], batches[index], found[NOT_FINITE])
    return Failed([group.example.id for group in collected.groups], None, None)


def _wrong(found: dict[str, Any]) -> bool:
    scalars = {name: x for name, x in found.items() if np.ndim(x) == 0}
    return bool(wrong_numbers(scalars)) or bool(np.any(found[NOT_FINITE]))
