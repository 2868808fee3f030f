"""What the replies of a step say beside their mean reward: pass@k, groups that teach nothing, lengths by outcome."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxreason.results.of_k import pass_at_k
from jaxreason.rl.rollouts import Group

# P prompts (groups), G samples per prompt.


def measure_groups(groups: Sequence[Group]) -> dict[str, float]:
    """`group_measures` of the replies that were sampled; what rows gave says nothing of the policy."""
    sampled = [[sample for sample in group.samples if not sample.given] for group in groups]
    shape = len(groups), max(map(len, sampled))
    right, lengths = np.full(shape, np.nan), np.zeros(shape, int)
    truncated = np.zeros(shape, bool)
    for place, samples in enumerate(sampled):
        for number, sample in enumerate(samples):
            correct = sample.reward.correct
            right[place, number] = np.nan if np.isnan(correct) else correct >= 1.0
            lengths[place, number] = len(sample.completion.tokens)
            truncated[place, number] = sample.completion.finish_reason == "length"
    return group_measures(right, lengths, truncated) if lengths.any() else {}


def group_measures(
    right: Float[np.ndarray, "P G"],
    lengths: Int[np.ndarray, "P G"],
    truncated: Bool[np.ndarray, "P G"],
) -> dict[str, float]:
    """Metrics of the groups of a step; those that have nothing to be a mean of are left out.

    Args:
      right: 1 where a reply is right, 0 where it is wrong, NaN where it was not graded.
      lengths: tokens of each reply.
      truncated: whether it ran into the limit.
    """
    return {
        "response_tokens_max": float(lengths.max()),
        **_groups(right),
        **_by_outcome("right", right == 1, lengths, truncated),
        **_by_outcome("wrong", right == 0, lengths, truncated),
    }


def _groups(right: np.ndarray) -> dict[str, float]:
    """pass@k for k = 1, 2, 4, ... and G, over the groups with k graded replies; and shares of groups."""
    graded = np.isfinite(right).sum(axis=1)
    correct = np.nansum(right, axis=1).astype(int)
    size, found = right.shape[1], {}
    for k in sorted({2**power for power in range(size.bit_length()) if 2**power <= size} | {size}):
        enough = graded >= k
        if enough.any():
            chances = pass_at_k(graded[enough], correct[enough], k)
            found[f"pass_at_{k}"] = float(np.mean(chances))
    if graded.any():
        some = graded > 0
        found["groups_all_right"] = float(np.mean(correct[some] == graded[some]))
        found["groups_all_wrong"] = float(np.mean(correct[some] == 0))
    return found


def _by_outcome(name: str, chosen: np.ndarray, lengths, truncated) -> dict[str, float]:
    if not chosen.any():
        return {}
    return {
        f"response_tokens_{name}": float(np.mean(lengths[chosen])),
        f"response_tokens_max_{name}": float(np.max(lengths[chosen])),
        f"truncated_{name}": float(np.mean(truncated[chosen])),
    }
