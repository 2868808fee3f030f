"""The one kind of interval for a score and for a difference, used wherever they are shown.

A score of one model has Wilson's interval if its samples are 0 or 1 (with an effective number of questions if samples
share a question), and otherwise a bootstrap over questions. Means over seeds and differences are bootstrapped, with
resamples of questions that all models share. If every question has the same result, no resample can vary, and a
bootstrap would give an interval of length 0. Such a part is drawn from the distribution whose quantiles are the ends of
Wilson's interval. All random functions take a seed, so the same files give the same numbers.
"""

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxreason.results.clusters import (
    ROUNDING,
    Clustered,
    counts,
    means,
    merge,
    question_shares,
    select,
    standard_errors,
    unvarying,
)

RESAMPLE_BLOCK = 1 << 21  # Multinomial counts in memory at the same time.
Seed = int | tuple[int, ...]
SEED = 0  # Seed of a score's bootstrap: the same samples always give the same interval.


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean (or difference of means) with its interval; `n` counts clusters, `formula` says how it was computed."""

    mean: float
    low: float
    high: float
    n: int
    formula: str


@dataclasses.dataclass(frozen=True)
class ResampledScores:
    """K models on the same questions, and their means in each of R resamples of the questions."""

    scores: Clustered
    draws: Float[np.ndarray, "R K"]


def quantile(confidence: float) -> float:
    """Returns the two-sided normal quantile: 1.96 for 0.95."""
    return statistics.NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson_end(
    mean: Float[np.ndarray, "..."] | float,
    n: Float[np.ndarray, "..."] | float,
    z: Float[np.ndarray, "..."] | float,
) -> Float[np.ndarray, "..."]:
    """Returns the end of Wilson's interval at a normal quantile: the lower one for z < 0 (Wilson 1927).

    Args:
      mean: a share.
      n: the number of trials.
      z: -1.96 and 1.96 give the ends of the 95 % interval.
    """
    mean, n, z = np.asarray(mean, float), np.asarray(n, float), np.asarray(z, float)
    centre = (mean + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2))
    end = np.clip(centre + half, 0, 1)
    # At a mean of 0 the lower end is 0, and at 1 the upper end is 1; this removes rounding errors.
    end = np.where((mean == 0) & (z <= 0), 0.0, end)
    return np.where((mean == 1) & (z >= 0), 1.0, end)


def wilson(
    mean: Float[np.ndarray, "..."] | float, n: Float[np.ndarray, "..."] | float, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns Wilson's score interval of a share `mean` of `n` trials, element by element."""
    z = quantile(confidence)
    return wilson_end(mean, n, -z), wilson_end(mean, n, z)


def percentiles(draws: Float[np.ndarray, " R"], confidence: float) -> tuple[float, float]:
    """Returns the ends between which the middle `confidence` of the draws lies.

    Resamples without a mean (NaN: none of their samples was graded) are left out.
    """
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def interval_of_ratio(
    draws: Float[np.ndarray, " R"], confidence: float
) -> tuple[float | None, float | None, float]:
    """Returns the percentile interval of resampled values of which some are undefined, and the share of undefined ones.

    An undefined resample could be anywhere, so it counts as -inf for the lower end and as +inf for the upper end. If
    more than (1 - confidence) / 2 of them are undefined, the interval has no end, and None is returned for it.
    """
    undefined = np.isnan(draws)
    low = np.quantile(np.where(undefined, -np.inf, draws), (1 - confidence) / 2, method="lower")
    high = np.quantile(np.where(undefined, np.inf, draws), (1 + confidence) / 2, method="higher")
    ends = [float(end) if np.isfinite(end) else None for end in (low, high)]
    return ends[0], ends[1], float(undefined.mean())


def mean_interval(scores: Clustered, confidence: float, resamples: int) -> Interval:
    """Returns the score of one model (K = 1), with the interval that is used everywhere.

    Scores of 0 and 1 have Wilson's interval. With several samples per question, or with strata, its n is the effective
    one, m (1 - m) / se^2 with the cluster-robust error. At m = 0 or 1, where that error says nothing, n is the number
    of clusters, for scores of any kind. Other scores have a bootstrap over clusters.
    """
    mean, n = _mean(scores), int((scores.sizes[:, 0] > 0).sum())
    if not np.isfinite(mean):
        return Interval(mean, mean, mean, n, "none: a part has no graded sample")
    at_an_end = mean in (0.0, 1.0)
    if not scores.binary and not at_an_end:
        draws = resampled_means(scores, resamples, np.random.default_rng(SEED), (0,))[:, 0]
        return Interval(mean, *percentiles(draws, confidence), n, "bootstrap over questions")
    simple = len(scores.weights) == 1 and scores.sizes.max() == 1
    effective = n if simple or at_an_end else _effective_size(scores, mean)
    low, high = wilson(mean, effective, confidence)
    return Interval(mean, float(low), float(high), n, "wilson" if simple else "wilson, effective n")


def _mean(scores: Clustered) -> float:
    """Returns the mean of all models; exactly 0 or 1 if the sum over strata differs from them only by rounding."""
    mean = float(means(scores).mean())
    nearest = float(np.round(mean))
    return nearest if abs(mean - nearest) < ROUNDING else mean


def _effective_size(scores: Clustered, mean: float) -> float:
    error = float(standard_errors(scores)[0])
    return float(np.clip(mean * (1 - mean) / error**2, 1, scores.sizes.sum()))


def seeds_interval(
    found: ResampledScores, columns: Sequence[int], confidence: float, resamples: int, seed: Seed
) -> Interval:
    """Returns the mean over the seeds of a model with its interval.

    For one seed it is the score's interval, otherwise a bootstrap over questions and seeds.
    """
    scores = select(found.scores, columns)
    if len(columns) == 1:
        return mean_interval(scores, confidence, resamples)
    # A question that one seed has a grade for says something: there may be none for which all have one.
    mean, n = _mean(scores), int((scores.sizes > 0).any(1).sum())
    if mean in (0.0, 1.0):
        low, high = wilson(mean, n, confidence)
        return Interval(mean, float(low), float(high), n, "wilson")
    draws = resampled_seeds(found.draws[:, list(columns)], np.random.default_rng(seed))
    low, high = percentiles(np.clip(draws, 0, 1), confidence)
    formula = f"bootstrap over questions and {len(columns)} seeds"
    return Interval(mean, low, high, n, formula)


def resample_questions(
    scores: Clustered, models: Sequence[int], resamples: int, seed: Seed
) -> ResampledScores:
    """Returns the scores with their `resampled_means`."""
    rng = np.random.default_rng(seed)
    return ResampledScores(scores, resampled_means(scores, resamples, rng, models))


def average(parts: Sequence[ResampledScores]) -> ResampledScores:
    """Returns the mean of benchmarks (or groups), whose questions are resampled independently."""
    draws = np.mean([part.draws for part in parts], axis=0)
    return ResampledScores(merge([part.scores for part in parts]), draws)


def resampled_means(
    scores: Clustered, num: int, rng: np.random.Generator, models: Sequence[int]
) -> Float[np.ndarray, "R K"]:
    """Returns `means` of `num` bootstrap resamples of the clusters within each stratum.

    All K columns have the same resamples, so their differences are paired. A column whose clusters all have one share
    in a stratum is drawn there from the ends of Wilson's interval at normal quantiles.

    Args:
      scores: of K models.
      num: number of resamples (R).
      rng: of the draws.
      models: a number for each column. Columns with the same number are seeds of one model and share those quantiles,
        since the quantiles stand for the questions.
    """
    total = np.zeros((num, scores.sums.shape[1]))
    stuck, number_of = unvarying(scores), counts(scores)
    for number, weight in enumerate(scores.weights):
        rows = np.flatnonzero(scores.strata == number)
        drawn = _resample_stratum(scores.sums[rows], scores.sizes[rows], num, rng)
        normals: dict[int, np.ndarray] = {}
        for column in np.flatnonzero(stuck[number]):
            mean = scores.sums[rows, column].sum() / scores.sizes[rows, column].sum()
            # The seeds of one model share a draw: what it stands for, unseen questions, is the same for all of them.
            if models[column] not in normals:
                normals[models[column]] = rng.normal(size=num)
            z = normals[models[column]]
            drawn[:, column] = wilson_end(mean, number_of[number, column], z)
        total += weight * drawn
    return total


def _resample_stratum(
    sums: np.ndarray, sizes: np.ndarray, num: int, rng: np.random.Generator
) -> np.ndarray:
    count = len(sums)
    block = max(1, RESAMPLE_BLOCK // count)
    parts = []
    for start in range(0, num, block):
        # A resample is how often it holds each cluster, so all resamples of a block need two matrix products only.
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=min(block, num - start))
        with np.errstate(invalid="ignore"):
            parts.append((drawn @ sums) / (drawn @ sizes))
    return np.concatenate(parts)


def resampled_seeds(
    tuned: Float[np.ndarray, "R S"], rng: np.random.Generator
) -> Float[np.ndarray, " R"]:
    """Returns the mean over a resample, with replacement, of the S seeds in each of the R item resamples.

    A resample of S seeds varies (S - 1) / S times as much as S new seeds would, so its deviation from the mean of all
    seeds is multiplied by sqrt(S / (S - 1)) (Rao and Wu 1988).
    """
    num, seeds = tuned.shape
    centre = tuned.mean(1)
    if seeds == 1:
        return centre
    chosen = rng.integers(seeds, size=(num, seeds))
    drawn = np.take_along_axis(tuned, chosen, axis=1).mean(1)
    return centre + np.sqrt(seeds / (seeds - 1)) * (drawn - centre)


def difference_interval(
    found: ResampledScores, plus: Sequence[int], minus: Sequence[int], confidence: float, seed: Seed
) -> Interval:
    """Returns the mean of some models minus that of others on the same questions; each list has the seeds of one model.

    It is a percentile bootstrap that resamples the questions (shared by all) and, with several seeds, the seeds too.
    With few seeds the interval is too narrow: two cannot show how much a third would differ. If no question has
    different results, all resamples of the difference are equal although questions with different results may exist.
    The upper end of Wilson's interval of 0 in C questions is then added on both sides, in squares (Zou and Donner
    2008).
    """
    plus, minus = list(plus), list(minus)
    estimate = means(found.scores)
    difference = float(estimate[plus].mean() - estimate[minus].mean())
    rng = np.random.default_rng(seed)
    first = resampled_seeds(found.draws[:, plus], rng)
    low, high = percentiles(first - resampled_seeds(found.draws[:, minus], rng), confidence)
    unseen = _unseen_difference(found.scores, plus + minus, confidence)
    low = max(difference - float(np.hypot(difference - low, unseen)), -1.0)
    high = min(difference + float(np.hypot(high - difference, unseen)), 1.0)
    several = [f" and {max(len(plus), len(minus))} seeds"] if max(len(plus), len(minus)) > 1 else []
    n = int((found.scores.sizes[:, plus + minus] > 0).all(1).sum())
    formula = "".join(["paired bootstrap over questions", *several])
    return Interval(difference, low, high, n, formula)


def _unseen_difference(scores: Clustered, columns: list[int], confidence: float) -> float:
    """Returns the half-width to add for strata whose questions vary, but in the same way for all of these models."""
    scores = select(scores, columns)
    shares = question_shares(scores)
    equal = unvarying(scores, shares - shares[:, :1]).all(1) & ~unvarying(scores).any(1)
    ends = wilson(0.0, np.maximum(counts(scores).min(1), 1), confidence)[1]
    return float(np.sqrt(((scores.weights * ends)[equal] ** 2).sum()))
