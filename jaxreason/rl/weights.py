"""What each reply of a group weighs in the objective: `(rewards [P, G], correct [P, G]) -> [P, G]`, on the host.

A reward of NaN means "not graded". A weight of NaN means that the reply is left out of what is trained on. A weight of
0 means that it stays: its log-prob is not pushed, but its tokens count where the loss is divided, and the KL of its
tokens is in the loss.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxreason.rl.advantages import ADVANTAGES, Advantage, grpo

# P prompts, G samples per prompt.
Weight = Callable[
    [Float[np.ndarray, "P G"], Float[np.ndarray, "P G"]],
    Float[np.ndarray, "P G"],
]


def one(
    rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """1 for every graded reply, right or wrong: imitation of whoever sampled it."""
    return np.where(np.isnan(rewards), np.nan, 1.0)


def right(
    rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """1 for right replies, the others left out: SFT on what rejection sampling keeps.

    A reply is right where `correct` is 1 or more. With replies of the present policy this is on-policy SFT.
    """
    return np.where(~np.isnan(rewards) & (correct >= 1.0), 1.0, np.nan)


def best(
    rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """grpo's advantage for the first reply with the highest reward of its group, the others left out.

    Off-policy RL as the study of transfer has it: the advantage sees the whole group, the gradient one reply. A group
    of equal rewards gives 0, one that has no graded reply NaN throughout.
    """
    ranked = np.where(np.isnan(rewards), -np.inf, rewards)
    first = np.arange(rewards.shape[1]) == ranked.argmax(axis=1)[:, None]
    return np.where(first & ~np.isnan(rewards), grpo(rewards), np.nan)


def zero(
    rewards: Float[np.ndarray, "P G"], correct: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, "P G"]:
    """0 for every graded reply: what a teacher or reference says of its tokens is all that is learned from."""
    return np.where(np.isnan(rewards), np.nan, 0.0)


def scaled(weights: Float[np.ndarray, "P G"], negatives: float) -> Float[np.ndarray, "P G"]:
    """Negative weights times `negatives`: 1 leaves them, 0 is the positive part alone.

    A reply whose weight becomes 0 stays, so that a gradient of the positive part is as large as within the whole.
    """
    return np.where(weights < 0.0, negatives * weights, weights) + 0.0  # no -0


def _of_rewards(advantage: Advantage) -> Weight:
    return lambda rewards, correct: advantage(rewards)


# A group's advantages, 0 where not graded, and the weights that are none.
WEIGHTS: dict[str, Weight] = {name: _of_rewards(of) for name, of in ADVANTAGES.items()} | {
    "one": one,
    "right": right,
    "best": best,
    "zero": zero,
}
