"""Least-squares fits of one measurement to another over the checkpoints of several runs, and how certain such a fit is.

Checkpoints of one run resemble each other. Hence whole runs are resampled, and whole runs are left out to see how well
a fit predicts runs that it has not seen.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxreason.results.statistics import Seed

# Values that differ by less than this share of the largest differ by the rounding of float32.
ROUNDING = 1e-6
EQUAL = 1e-24  # Squares of the rounding of float64, as a share of the sum of squares.


@dataclasses.dataclass(frozen=True)
class Points:
    """n points; `runs` has the number of each point's run, from 0 on."""

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    runs: Int[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Fit:
    """y = sum_k coefficients[k] x^k.

    Attributes:
      coefficients: the constant first.
      r2: 1 - (residual sum of squares) / (sum of squares about the mean).
      adjusted: 1 - (1 - r2) (n - 1) / (n - 1 - degree).
      unseen: the R² of predictions of each run by a fit to the others, relative to the others' mean; below 0 if that
        mean predicts better. NaN if the others cannot be fitted.
      r2_draws: R² in resamples of the runs; NaN where one cannot be fitted.
      coefficient_draws: the coefficients in these resamples.
    """

    coefficients: tuple[float, ...]
    r2: float
    adjusted: float
    unseen: float
    r2_draws: Float[np.ndarray, " R"]
    coefficient_draws: Float[np.ndarray, "R c"]


def why_no_fit(points: Points, degree: int) -> str:
    """Returns why a polynomial of this degree has no fit with an R²; "" if it has one."""
    if len(points.x) < degree + 2:
        return f"{len(points.x)} points, of {degree + 2} that a fit of degree {degree} needs"
    if not (np.isfinite(points.x).all() and np.isfinite(points.y).all()):
        return "a point is not a number"
    if len(np.unique(points.x)) <= degree:
        return f"{len(np.unique(points.x))} different values, of {degree + 1} that are needed"
    if np.ptp(points.y) == 0:
        return "every point has the same loss"
    if np.ptp(points.x) <= ROUNDING * np.abs(points.x).max():
        return "its values differ by rounding alone"
    if np.isnan(_solve(points, degree, np.ones((1, len(points.x))))[1]).any():
        return "too many of its values differ by rounding alone"
    return ""


def resampled_runs(num_runs: int, resamples: int, seed: Seed) -> Int[np.ndarray, "R runs"]:
    """Returns how often each run is in each of R resamples with replacement; equal for all measurements."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_runs, np.full(num_runs, 1 / num_runs), size=resamples)


def fit(points: Points, degree: int, counts: Int[np.ndarray, "R runs"]) -> Fit:
    """Fits points for which `why_no_fit` is "".

    Args:
      points: of the runs.
      degree: of the polynomial: 1 or 2.
      counts: the result of `resampled_runs`.
    """
    ones = np.ones((1, len(points.x)))
    coefficients, r2 = _solve(points, degree, ones)
    draws = _solve(points, degree, counts[:, points.runs].astype(float))
    n = len(points.x)
    adjusted = 1 - (1 - r2[0]) * (n - 1) / (n - 1 - degree)
    found = tuple(map(float, coefficients[0]))
    unseen = _unseen(points, degree)
    return Fit(found, float(r2[0]), float(adjusted), unseen, draws[1], draws[0])


def predict(coefficients: Sequence[float], x: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Returns the values of the polynomial at `x`."""
    return np.polynomial.polynomial.polyval(x, coefficients)


def _solve(
    points: Points, degree: int, weights: Float[np.ndarray, "R n"]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns coefficients [R, degree + 1] and R² [R] for each row of weights; NaN where too few points are left."""
    # Values from -1 to 1: powers of values that are all near another number would be nearly multiples of each other.
    middle, scale = (points.x.max() + points.x.min()) / 2, np.ptp(points.x) / 2 or 1.0
    powers = ((points.x - middle) / scale)[:, None] ** np.arange(degree + 1)
    normal = np.einsum("rn,ni,nj->rij", weights, powers, powers)
    sound = np.linalg.matrix_rank(normal, hermitian=True) == degree + 1
    right = np.einsum("rn,ni,n->ri", weights, powers, points.y)
    normal[~sound] = np.eye(degree + 1)
    solved = np.linalg.solve(normal, right[..., None])[..., 0]
    left = (weights * (points.y - solved @ powers.T) ** 2).sum(1)
    mean = (
        weights @ points.y / np.maximum(weights.sum(1), 1)
    )  # A resample may have none of these runs.
    about = (weights * (points.y - mean[:, None]) ** 2).sum(1)
    # Equal losses have no R²; the mean of them may differ from each by rounding.
    sound &= about > EQUAL * (weights @ points.y**2)
    r2 = np.where(sound, 1 - left / np.where(sound, about, 1), np.nan)
    solved = np.where(sound[:, None], solved @ _powers_of(middle, scale, degree), np.nan)
    return solved, r2


def _powers_of(middle: float, scale: float, degree: int) -> Float[np.ndarray, "k k"]:
    """Returns the coefficients of the powers of x (columns) in each power of (x - middle) / scale (rows)."""
    numbers = range(degree + 1)
    made = [
        [math.comb(k, j) * (-middle) ** (k - j) if j <= k else 0.0 for j in numbers]
        for k in numbers
    ]
    return np.array(made) / scale ** np.arange(degree + 1)[:, None]


def _unseen(points: Points, degree: int) -> float:
    """Returns the R² of predictions of each run from a fit to the others."""
    numbers = np.unique(points.runs)
    if len(numbers) < 2:
        return float("nan")
    others = points.runs[None, :] != numbers[:, None]
    coefficients, _ = _solve(points, degree, others.astype(float))
    left = about = 0.0
    for kept, found in zip(others, coefficients, strict=True):
        y = points.y[~kept]
        left += float(((y - predict(found, points.x[~kept])) ** 2).sum())
        about += float(((y - points.y[kept].mean()) ** 2).sum())
    return 1 - left / about if about > 0 else float("nan")
