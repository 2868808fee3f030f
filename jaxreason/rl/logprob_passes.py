"""What a step computes of its replies before it learns: log-probs before any update, and the KL term as a reward."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxreason.rl.policy_losses import kl_to_reference
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.rollouts import Packed, Rollouts
from jaxreason.sharding import to_host


def needs_old(config: RLConfig) -> bool:
    """Whether the log-probs before the first update are computed: later ones must not find their own instead.

    The recipe says it, not the groups that a step has: batches without them would be another program to compile.
    """
    several = config.updates_per_step > 1
    return several or config.kl_as_reward or config.old_logprobs == "always"


def needs_reference(config: RLConfig) -> bool:
    """Whether the reference's log-probs of the replies are: its whole distributions are made in the update itself."""
    return config.has_kl and not config.exact_kl


def add_logprobs(
    config: RLConfig, programs: Any, params: Any, reference: Any, batches: Sequence[Rollouts]
) -> list[Rollouts]:
    """The batches with the trainer's log-probs before any update, and those of the reference, where they are needed.

    Args:
      config: of the run.
      programs: `logprob_pass` and `reference_pass`.
      params: of the policy.
      reference: parameters of the reference, or None.
      batches: on the devices.
    """
    bare = list(batches)
    if needs_old(config):
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
    """The rewards of the groups that were packed, less the KL term summed over each reply, as verl has it."""
    less = rewards.copy()
    for one, batch in zip(packed, batches, strict=True):
        penalty = kl_to_reference(
            config.policy_loss, batch.old_logprobs, batch.ref_logprobs, batch.loss_mask
        )
        for reply, total in one.sums(to_host(penalty)).items():
            less[reply] -= config.policy_loss.kl_coefficient * total
    return less
