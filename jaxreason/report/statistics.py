"""Means, paired differences and their intervals, from the samples of several models on the same
items.

Items are resampled within subsets of a benchmark, the same ones for all models; seeds are resampled
too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxreason.report.files import Sample


class Items(NamedTuple):
    """Sums and numbers of graded samples of K models on the C items of a benchmark."""

    sums: Float[np.ndarray, "C K"]
    sizes: Float[np.ndarray, "C K"]
    subsets: Int[np.ndarray, " C"]


class Estimate(NamedTuple):
    """A mean of each model, and of each resample: a column a model."""

    means: Float[np.ndarray, " K"]
    draws: Float[np.ndarray, "R K"]


class Interval(NamedTuple):
    """A number with the ends of its interval."""

    mean: float
    low: float
    high: float


def tabulate(models: Sequence[Sequence[Sample]], metric: str, weight: str | None = None) -> Items:
    """The items that all models have, with their scores in 0..1; a failed sample is left out.

    `weight` names a score that weighs each sample (the instructions of an IFEval prompt).
    """
    shared = set.intersection(*({(s.subset, s.cluster) for s in samples} for samples in models))
    index = {key: number for number, key in enumerate(sorted(shared))}
    sums, sizes = np.zeros((2, len(index), len(models)))
    for column, samples in enumerate(models):
        for sample in samples:
            row = index.get((sample.subset, sample.cluster))
            if row is not None and not sample.failed:
                size = 1.0 if weight is None else sample.scores[weight]
                sums[row, column] += size * sample.scores[metric]
                sizes[row, column] += size
    names = sorted({subset for subset, _ in index})
    return Items(sums, sizes, np.array([names.index(subset) for subset, _ in index], int))


def estimate(items: Items, resamples: int, seed: tuple[int, ...]) -> Estimate:
    """Mean over subsets of (sum of scores / samples), and the same of `resamples` resamples of the
    items.
    """
    rng = np.random.default_rng(seed)
    means, draws = [], []
    for number in range(items.subsets.max() + 1):
        rows = items.subsets == number
        sums, sizes, count = items.sums[rows], items.sizes[rows], int(rows.sum())
        weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(sums.sum(0) / sizes.sum(0))
            draws.append((weights @ sums) / (weights @ sizes))
    return Estimate(np.mean(means, axis=0), np.mean(draws, axis=0))


def average(parts: Sequence[Estimate]) -> Estimate:
    """The mean of benchmarks (or groups), whose items are resampled independently."""
    return Estimate(
        np.mean([part.means for part in parts], axis=0),
        np.mean([part.draws for part in parts], axis=0),
    )


def pool_seeds(draws: Float[np.ndarray, "R S"], seed: tuple[int, ...]) -> Float[np.ndarray, " R"]:
    """Mean over seeds, the seeds resampled too.

    A resample of S seeds varies (S - 1) / S times as much as a fresh draw of S would, so its
    distance from the mean of all is stretched by sqrt(S / (S - 1)) (Rao and Wu 1988). One seed
    cannot vary.
    """
    num, seeds = draws.shape
    centre = draws.mean(1)
    if seeds == 1:
        return centre
    chosen = np.random.default_rng(seed).integers(seeds, size=(num, seeds))
    drawn = np.take_along_axis(draws, chosen, axis=1).mean(1)
    return centre + np.sqrt(seeds / (seeds - 1)) * (drawn - centre)


def interval(mean: float, draws: Float[np.ndarray, " R"], confidence: float) -> Interval:
    """Percentile interval."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(mean), float(low), float(high))


def wilson(mean: float, num: int, z: float) -> Interval:
    """Wilson's interval of a share, for the shares 0 and 1 that no resample can vary."""
    centre = (mean + z**2 / (2 * num)) / (1 + z**2 / num)
    half = z / (1 + z**2 / num) * np.sqrt(mean * (1 - mean) / num + z**2 / (4 * num**2))
    return Interval(mean, float(max(centre - half, 0)), float(min(centre + half, 1)))
