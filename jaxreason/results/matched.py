"""Where a run first reaches a score, between the steps at which it was evaluated.

A run's scores at R resamples of the questions and S evaluated steps, the base first, are joined by straight lines. A
place is a number of steps in that list: 1.5 lies half-way between its second and third.
"""

import numpy as np
from jaxtyping import Float


def reach(scores: Float[np.ndarray, "R S"]) -> Float[np.ndarray, " R"]:
    """The highest score on the way."""
    return scores.max(1)


def first_place(
    scores: Float[np.ndarray, "R S"], target: Float[np.ndarray, " R"]
) -> Float[np.ndarray, " R"]:
    """The first place where the lines reach `target`: 0 where the base does, NaN where none does."""
    there = scores >= target[:, None]
    step = there.argmax(1)
    before = np.maximum(step - 1, 0)
    low, high = (np.take_along_axis(scores, i[:, None], 1)[:, 0] for i in (before, step))
    with np.errstate(invalid="ignore", divide="ignore"):
        place = np.where(step == 0, 0.0, before + (target - low) / (high - low))
    return np.where(there.any(1), place, np.nan)


def at_place(
    values: Float[np.ndarray, "R S"], place: Float[np.ndarray, " R"]
) -> Float[np.ndarray, " R"]:
    """The value on the lines at a place; NaN where that is NaN."""
    sound = np.nan_to_num(place)
    before = np.minimum(np.floor(sound).astype(int), max(values.shape[1] - 2, 0))
    after = np.minimum(before + 1, values.shape[1] - 1)
    low, high = (np.take_along_axis(values, i[:, None], 1)[:, 0] for i in (before, after))
    return np.where(np.isnan(place), np.nan, low + (sound - before) * (high - low))
