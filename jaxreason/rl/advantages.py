"""Advantages of a group of replies to one prompt: `(rewards [P, G]) -> [P, G]`, on the host.

A reward of NaN means "not graded" (the grader or the sampler failed): that reply gets advantage 0
and takes no part in its group's mean or spread. A group whose graded rewards are all equal gets
exactly 0, whatever rounding would make of `r - mean`.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

# P prompts, G samples per prompt.
Advantage = Callable[[Float[np.ndarray, "P G"]], Float[np.ndarray, "P G"]]

EPSILON = 1e-6  # verl's; keeps grpo finite for groups whose rewards differ by rounding only


def mixed_groups(rewards: Float[np.ndarray, "P G"]) -> Bool[np.ndarray, "P"]:
    """True for groups whose graded rewards are not all equal, the only ones that teach anything."""
    graded = ~np.isnan(rewards)
    low = np.where(graded, rewards, np.inf).min(axis=1)
    high = np.where(graded, rewards, -np.inf).max(axis=1)
    return high > low


def grpo(rewards: Float[np.ndarray, "P G"]) -> Float[np.ndarray, "P G"]:
    """`(r - mean) / (std + 1e-6)` with the sample standard deviation (G - 1), as verl has it.

    Source: Shao et al. 2024 (arXiv 2402.03300), equation 3's outcome form.
    """
    deviation, count = _centered(rewards)
    variance = np.square(deviation).sum(axis=1, keepdims=True) / np.maximum(count - 1, 1)
    return _silence_equal(rewards, deviation / (np.sqrt(variance) + EPSILON))


def dr_grpo(rewards: Float[np.ndarray, "P G"]) -> Float[np.ndarray, "P G"]:
    """`r - mean`: no division by the spread. Source: Liu et al. 2025 (arXiv 2503.20783)."""
    return _silence_equal(rewards, _centered(rewards)[0])


def rloo(rewards: Float[np.ndarray, "P G"]) -> Float[np.ndarray, "P G"]:
    """`r - mean of the others`, which is `(r - mean) * n / (n - 1)`.

    Source: Ahmadian et al. 2024 (arXiv 2402.14740).
    """
    deviation, count = _centered(rewards)
    return _silence_equal(rewards, deviation * count / np.maximum(count - 1, 1))


def _centered(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deviations from the graded mean (0 where not graded) and how many are graded [P, 1]."""
    graded = ~np.isnan(rewards)
    count = graded.sum(axis=1, keepdims=True)
    mean = np.where(graded, rewards, 0.0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
    return np.where(graded, rewards - mean, 0.0), count


def _silence_equal(rewards: np.ndarray, advantages: np.ndarray) -> np.ndarray:
    return np.where(mixed_groups(rewards)[:, None], advantages, 0.0)


ADVANTAGES: dict[str, Advantage] = {
    "grpo": grpo,
    "dr_grpo": dr_grpo,
    "centered": dr_grpo,
    "rloo": rloo,
}
