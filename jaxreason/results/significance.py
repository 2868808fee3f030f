"""Tests whether a paired difference of means is more than chance, and how small a detectable difference is.

The null hypothesis is that the two models are alike: on any question their scores could equally well have been
exchanged. Flipping the sign of each question's contribution to the difference (with all its samples together) gives the
differences that would then occur (Fisher's randomisation test). For scores of 0 or 1 with one sample per question this
is McNemar's exact test.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxreason.results.clusters import ROUNDING, Clustered, by_stratum, means
from jaxreason.results.statistics import RESAMPLE_BLOCK, Seed, quantile, resampled_seeds

FLIPS = 10_000  # Random flips, if there are too many to count them all.
EXACT = 1 << 17  # Outcomes that are counted one by one.
POWER = 0.8  # Chance of finding a difference of the smallest detectable size.
_SAME = 1e-9  # Contributions that differ by less than this share of the largest are equal.


@dataclasses.dataclass(frozen=True)
class Significance:
    """The p-value of one difference, and the smallest true difference that would usually be found."""

    p: float
    detectable: float


def paired_significance(
    scores: Clustered, plus: Sequence[int], minus: Sequence[int], confidence: float, seed: Seed
) -> Significance:
    """Returns `p_value` and `smallest_detectable` of the same two models."""
    return Significance(
        p_value(scores, plus, minus, seed), smallest_detectable(scores, plus, minus, confidence)
    )


def contributions(
    scores: Clustered, plus: Sequence[int], minus: Sequence[int]
) -> Float[np.ndarray, " C"]:
    """Returns the part that each question adds to the difference of two models' means; their sum is the difference.

    A question adds its deviation from the mean of both models in its stratum. A question that only one of them has a
    grade for therefore does not look like a difference.

    Args:
      scores: of K models.
      plus: columns of the first model, one for each of its seeds.
      minus: columns of the second model.
    """
    sums, sizes = by_stratum(scores, scores.sums), by_stratum(scores, scores.sizes)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / sizes
        both = (mean[:, list(plus)].mean(1) + mean[:, list(minus)].mean(1)) / 2
        apart = scores.sums - both[scores.strata, None] * scores.sizes
        share = scores.weights[scores.strata, None] * apart / sizes[scores.strata]
    return share[:, list(plus)].mean(1) - share[:, list(minus)].mean(1)


def p_value(scores: Clustered, plus: Sequence[int], minus: Sequence[int], seed: Seed) -> float:
    """Returns the chance of a difference at least as far from 0, in either direction, between two models that are
    alike.

    It is exact if the outcomes can be counted. Otherwise it is the share among `FLIPS` seeded random flips, with 1
    added to both counts so that it is never 0 (Phipson and Smyth 2010). If a model has several seeds, their deviations
    from their mean are resampled and added, stretched as in `resampled_seeds`: a difference of two seeds is less
    certain than the same difference of many. NaN if a model has no mean.
    """
    each = contributions(scores, plus, minus)
    difference = abs(each.sum())
    if not np.isfinite(difference):
        return float("nan")
    sizes, counts, slack = _distinct(np.abs(each))
    several = len(plus) > 1 or len(minus) > 1
    # Contributions of equal size are interchangeable, so `count` of them have only count + 1 different sums.
    if not several and math.prod(int(count) + 1 for count in counts) <= EXACT:
        return _exact(sizes, counts, difference - slack)
    rng = np.random.default_rng(seed)
    draws = _flipped(sizes, counts, rng)
    mean = means(scores)
    for side in (mean[list(plus)], mean[list(minus)]):
        draws += resampled_seeds(np.tile(side, (FLIPS, 1)), rng) - side.mean()
    beyond = int((np.abs(draws) >= difference - slack).sum())
    return (1 + beyond) / (1 + FLIPS)


def _distinct(
    each: Float[np.ndarray, " C"],
) -> tuple[Float[np.ndarray, " D"], Int[np.ndarray, " D"], float]:
    """Returns the sizes that are not 0, how often each occurs, and a bound on the rounding error of the sum of all."""
    largest = each.max(initial=0.0)
    if largest < ROUNDING:
        return np.zeros(0), np.zeros(0, int), ROUNDING
    sizes, counts = np.unique(np.round(each / largest / _SAME).astype(int), return_counts=True)
    kept = sizes > 0
    return sizes[kept] * _SAME * largest, counts[kept], len(each) * _SAME * largest


def _exact(sizes: np.ndarray, counts: np.ndarray, least: float) -> float:
    """Returns the chance of a sum at least `least` from 0: of n equal sizes, the number with a plus is binomial."""
    import scipy.stats  # Takes longer than JAX, so only what counts outcomes imports it.

    totals, chances = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        ups = np.arange(count + 1)
        totals = np.add.outer(totals, size * (2 * ups - count)).ravel()
        chances = np.multiply.outer(chances, scipy.stats.binom.pmf(ups, count, 0.5)).ravel()
    return float(min(chances[np.abs(totals) >= least].sum(), 1.0))


def _flipped(sizes: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns `FLIPS` sums of the sizes with random signs."""
    parts = []
    for number in _blocks(len(sizes)):
        ups = rng.binomial(counts, 0.5, size=(number, len(sizes)))
        parts.append((2 * ups - counts) @ sizes)
    return np.concatenate(parts)


def _blocks(width: int) -> Iterator[int]:
    most = max(1, RESAMPLE_BLOCK // max(width, 1))
    for start in range(0, FLIPS, most):
        yield min(most, FLIPS - start)


def difference_error(scores: Clustered, plus: Sequence[int], minus: Sequence[int]) -> float:
    """Returns the standard error of the difference, clustered by question; with several seeds it includes their spread.

    A stratum in which every question adds the same gets, as in `standard_errors`, the error that it would have with two
    more questions that differ and two more that do not.
    """
    each = contributions(scores, plus, minus)
    graded = (scores.sizes[:, [*plus, *minus]] > 0).any(1)  # Other questions say nothing.
    variance = 0.0
    for number, weight in enumerate(scores.weights):
        rows = each[(scores.strata == number) & graded]
        count = len(rows)
        if np.ptp(rows) > ROUNDING:
            variance += count**2 / (count - 1) * rows.var()
        else:
            added = (abs(rows.sum()) / weight * count + 2) / (count + 4)
            variance += weight**2 * added * (1 - added) / (count + 4)
    mean = means(scores)
    for side in (mean[list(plus)], mean[list(minus)]):
        variance += side.var(ddof=1) / len(side) if len(side) > 1 else 0.0
    return math.sqrt(variance)


def smallest_detectable(
    scores: Clustered, plus: Sequence[int], minus: Sequence[int], confidence: float
) -> float:
    """Returns the smallest true difference whose interval would exclude 0 with chance POWER, on equally many questions.

    It is (z of the confidence + z of the power) times the observed paired error.
    """
    if not np.isfinite(means(scores)[[*plus, *minus]]).all():
        return float("nan")
    z = quantile(confidence) + statistics.NormalDist().inv_cdf(POWER)
    return z * difference_error(scores, plus, minus)


def false_discovery_rates(p_values: Sequence[float]) -> list[float]:
    """Returns Benjamini and Hochberg's q-value of each comparison of a family.

    It is the share of false ones among all that are called true at that q or below. NaN stays NaN and is not in the
    family.
    """
    p = np.array(p_values, float)
    known = np.isfinite(p)
    if known.any():
        import scipy.stats  # as in `_exact`

        p[known] = scipy.stats.false_discovery_control(p[known], method="bh")
    return p.tolist()
