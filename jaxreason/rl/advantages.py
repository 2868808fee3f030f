"""Computes, on the host, the weight of each reply in the objective from the rewards of its group.

ADVANTAGES compare a reply with the others of its group: `(rewards [P, G]) -> [P, G]`. DAPO uses that of GRPO. WEIGHTS
compare nothing: `(rewards [P, G], correct [P, G]) -> [P, G]`.

A reward of NaN means "not graded" (the grader or the sampler failed). In ADVANTAGES such a reply gets 0 and
takes no part in its group's mean or spread. A group whose graded rewards are all equal gets exactly 0, without
rounding errors of `r - mean`.

A weight of NaN leaves the reply out of training. With a weight of 0 the reply stays: its log-prob is not pushed, but
its tokens count in the divisor of the loss, and the KL of its tokens is in the loss.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxreason.errors import UserError

# P prompts, G samples per prompt.
Advantage = Callable[[Float[np.ndarray, "P G"]], Float[np.ndarray, "P G"]]

EPSILON = 1e-6  # As in verl; keeps grpo finite for groups whose rewards differ only by rounding.


def mixed_groups(rewards: Float[np.ndarray, "P G"]) -> Bool[np.ndarray, "P"]:
    """True for groups whose graded rewards are not all equal; only these teach anything."""
    graded = ~np.isnan(rewards)
    low = np.where(graded, rewards, np.inf).min(axis=1)
    high = np.where(graded, rewards, -np.inf).max(axis=1)
    return high > low


def grpo(rewards: Float[np.ndarray, "P G"]) -> Float[np.ndarray, "P G"]:
    """`(r - mean) / (std + 1e-6)` with the sample standard deviation (G - 1), as in verl.

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


Weight = Callable[
    [Float[np.ndarray, "P G"], Float[np.ndarray, "P G"]],
    Float[np.ndarray, "P G"],
]


def weigh_alike(
    rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """1 for every graded reply, right or wrong: the model imitates all of them."""
    return np.where(np.isnan(rewards), np.nan, 1.0)


def right(
    rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """1 for right replies; the others are left out: SFT on what rejection sampling keeps.

    A reply is right if `correct` is at least 1. With replies of the current policy this is on-policy SFT.
    """
    return np.where(~np.isnan(rewards) & (correct >= 1.0), 1.0, np.nan)


def best(
    rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """grpo's advantage for the first reply with the highest reward of its group; the others are left out.

    This is off-policy RL as in the study of transfer: the advantage uses the whole group, the gradient one reply. A
    group of equal rewards gives 0, a group without a graded reply NaN everywhere.
    """
    ranked = np.where(np.isnan(rewards), -np.inf, rewards)
    first = np.arange(rewards.shape[1]) == ranked.argmax(axis=1)[:, None]
    return np.where(first & ~np.isnan(rewards), grpo(rewards), np.nan)


def zero(
    rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """0 for every graded reply: the model learns only from what a teacher or reference says of its tokens."""
    return np.where(np.isnan(rewards), np.nan, 0.0)


def scaled(weights: Float[np.ndarray, "P G"], negatives: float) -> Float[np.ndarray, "P G"]:
    """Multiplies negative weights by `negatives`: 1 keeps them, 0 keeps only the positive part.

    A reply whose weight becomes 0 stays, so that the gradient of the positive part has the same
    size as within the whole.
    """
    return np.where(weights < 0.0, negatives * weights, weights) + 0.0  # Turns -0 into 0.


# Weights that compare nothing.
WEIGHTS: dict[str, Weight] = {"one": weigh_alike, "right": right, "best": best, "zero": zero}


def reply_weights(
    name: str, rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """Returns the weights by a key of ADVANTAGES (0 for replies that are not graded) or WEIGHTS.

    Raises:
      UserError: the function, which a user may have added, returns no number for each reply.
    """
    if name in WEIGHTS:
        return _numbers(name, WEIGHTS[name](rewards, correct), rewards.shape, may_be_nan=True)
    return _numbers(name, ADVANTAGES[name](rewards), rewards.shape, may_be_nan=False)


def _numbers(
    name: str, found: Any, shape: tuple[int, ...], *, may_be_nan: bool
) -> Float[np.ndarray, "P G"]:
    hint, page = (
        ("NaN if it is left out", "objective")
        if may_be_nan
        else ("0 if it is not graded", "adding_algorithms")
    )
    expected = f"rl.advantage={name!r}: expected {shape} finite numbers, one for each prompt and reply ({hint}), got"
    see = f"See docs/{page}.md."
    if np.shape(found) != shape:
        raise UserError(f"{expected} an array of shape {np.shape(found)}. {see}")
    array = np.asarray(found)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{expected} values of type {array.dtype}. {see}")
    if np.isinf(array).any() or (np.isnan(array).any() and not may_be_nan):
        raise UserError(f"{expected} {'' if may_be_nan else 'NaN or '}infinity. {see}")
    return array.astype(float)
