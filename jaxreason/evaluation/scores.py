"""Means with intervals, pass@k, and paired differences between models on the same items.

Scores are numbers in 0..1, NaN where a grader failed: such a sample is left out and the size says
so. Samples that share a question form a cluster; subsets of a benchmark (and benchmarks of a
group) form strata whose means are averaged. Everything random takes a seed, so the same files give
the same numbers.
"""

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxreason.errors import UserError

RESAMPLE_BLOCK = 1 << 21  # multinomial counts held at once


@dataclasses.dataclass(frozen=True)
class SampleScores:
    """One metric of one model, a value for each sample; NaN where it was not graded."""

    values: Float[np.ndarray, " N"]
    weights: Float[np.ndarray, " N"]
    clusters: tuple[str, ...]
    subsets: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Clustered:
    """K models on the same C clusters: sums of scores and of weights, and weighted strata."""

    sums: Float[np.ndarray, "C K"]
    sizes: Float[np.ndarray, "C K"]
    strata: Int[np.ndarray, " C"]
    weights: Float[np.ndarray, " S"]
    binary: bool


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean (or difference of means) with its interval; `n` counts clusters and `formula` says
    how.
    """

    mean: float
    low: float
    high: float
    n: int
    formula: str


def cluster(models: Sequence[SampleScores]) -> Clustered:
    """Group the samples of each model by question.

    Raises:
      ValueError: when the models were not asked the same questions.
    """
    keys = [_keys(scores) for scores in models]
    labels = sorted(set(keys[0]))
    for number, other in enumerate(keys[1:], start=1):
        _check_same(labels, sorted(set(other)), number)
    index = {key: i for i, key in enumerate(labels)}
    columns = [
        _sums([index[k] for k in key], m, len(labels)) for key, m in zip(keys, models, strict=True)
    ]
    names = sorted({subset for subset, _ in labels})
    return Clustered(
        sums=np.stack([sums for sums, _ in columns], axis=1),
        sizes=np.stack([sizes for _, sizes in columns], axis=1),
        strata=np.array([names.index(subset) for subset, _ in labels]),
        weights=np.full(len(names), 1 / len(names)),
        binary=all(_is_binary(scores) for scores in models),
    )


def _keys(scores: SampleScores) -> list[tuple[str, str]]:
    if not scores.clusters:
        raise UserError("scores: expected at least one sample, got none.")
    return list(zip(scores.subsets, scores.clusters, strict=True))


def _check_same(expected: list, got: list, number: int) -> None:
    different = sorted(set(expected) ^ set(got))
    if different:
        raise UserError(
            f"scores: model {number} was not asked the same questions as model 0: {len(different)} "
            f"of them occur in only one of the two, the first is {different[0][1]!r}."
        )


def _sums(index: list[int], scores: SampleScores, num: int) -> tuple[np.ndarray, np.ndarray]:
    graded = ~np.isnan(scores.values)
    weights = np.where(graded, scores.weights, 0.0)
    values = np.where(graded, scores.values, 0.0)
    return np.bincount(index, weights * values, num), np.bincount(index, weights, num)


def _is_binary(scores: SampleScores) -> bool:
    values = scores.values[~np.isnan(scores.values)]
    return bool(np.isin(values, (0.0, 1.0)).all() and (scores.weights == 1).all())


def merge(parts: Sequence[Clustered]) -> Clustered:
    """Benchmarks as strata of one group: the mean of the result is the mean of their means."""
    offsets = np.cumsum([0] + [len(part.weights) for part in parts[:-1]])
    return Clustered(
        sums=np.concatenate([part.sums for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        strata=np.concatenate(
            [part.strata + off for part, off in zip(parts, offsets, strict=True)]
        ),
        weights=np.concatenate([part.weights for part in parts]) / len(parts),
        binary=all(part.binary for part in parts),
    )


def means(scores: Clustered) -> Float[np.ndarray, " K"]:
    """The weighted mean over strata of sum / count; NaN when a stratum has no graded sample."""
    sums, sizes = _by_stratum(scores, scores.sums), _by_stratum(scores, scores.sizes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return scores.weights @ (sums / sizes)


def _by_stratum(scores: Clustered, values: np.ndarray) -> np.ndarray:
    onehot = np.arange(len(scores.weights))[:, None] == scores.strata
    return onehot.astype(float) @ values


def standard_errors(scores: Clustered) -> Float[np.ndarray, " K"]:
    """Cluster-robust standard error of `means`: C/(C-1) sum_c (sum_c - m size_c)^2 / size^2 in
    each stratum.

    A stratum of a single cluster has no spread of its own: its variance is taken as m (1 - m) of
    all.
    """
    variances = []
    overall = means(scores)
    for number in range(len(scores.weights)):
        rows = scores.strata == number
        sums, sizes, count = scores.sums[rows], scores.sizes[rows], int(rows.sum())
        mean = sums.sum(0) / sizes.sum(0)
        if count == 1:
            variances.append(overall * (1 - overall))
            continue
        residuals = sums - mean * sizes
        variances.append(count / (count - 1) * (residuals**2).sum(0) / sizes.sum(0) ** 2)
    return np.sqrt(scores.weights**2 @ np.stack(variances))


def quantile(confidence: float) -> float:
    """The two-sided normal quantile: 1.96 for 0.95."""
    return statistics.NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(
    mean: Float[np.ndarray, "..."] | float, n: Float[np.ndarray, "..."] | float, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share `mean` of `n` trials (Wilson 1927), element by element."""
    z = quantile(confidence)
    mean, n = np.asarray(mean, float), np.asarray(n, float)
    centre = (mean + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def mean_interval(scores: Clustered, confidence: float, resamples: int, seed: int) -> Interval:
    """The mean of one model (K = 1): Wilson for scores of 0 and 1, a cluster bootstrap for others.

    With several samples a question, or strata, Wilson's n is the effective one, m (1 - m) / se^2
    with the cluster-robust error; at m = 0 or 1, where that error says nothing, it is the number
    of clusters.
    """
    mean, n = float(means(scores)[0]), int((scores.sizes[:, 0] > 0).sum())
    if not np.isfinite(mean):
        return Interval(mean, mean, mean, n, "none: a part has no graded sample")
    if not scores.binary:
        draws = resampled_means(scores, resamples, np.random.default_rng(seed))[:, 0]
        return Interval(mean, *_percentiles(draws, confidence), n, "bootstrap over questions")
    simple = len(scores.weights) == 1 and scores.sizes.max() == 1
    effective = n if simple else _effective_size(scores, mean, n)
    low, high = wilson(mean, effective, confidence)
    return Interval(mean, float(low), float(high), n, "wilson" if simple else "wilson, effective n")


def _effective_size(scores: Clustered, mean: float, clusters: int) -> float:
    error = float(standard_errors(scores)[0])
    if mean in (0.0, 1.0) or error == 0:
        return clusters
    return float(np.clip(mean * (1 - mean) / error**2, 1, scores.sizes.sum()))


def _percentiles(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def resampled_means(
    scores: Clustered, num: int, rng: np.random.Generator
) -> Float[np.ndarray, "R K"]:
    """`means` of `num` bootstrap resamples of the clusters within each stratum.

    All K columns see the same resample, so their differences are paired.
    """
    total = np.zeros((num, scores.sums.shape[1]))
    for number, weight in enumerate(scores.weights):
        rows = np.flatnonzero(scores.strata == number)
        total += weight * _resample_stratum(scores.sums[rows], scores.sizes[rows], num, rng)
    return total


def _resample_stratum(
    sums: np.ndarray, sizes: np.ndarray, num: int, rng: np.random.Generator
) -> np.ndarray:
    count = len(sums)
    block = max(1, RESAMPLE_BLOCK // count)
    parts = []
    for start in range(0, num, block):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=min(block, num - start))
        with np.errstate(invalid="ignore"):
            parts.append((drawn @ sums) / (drawn @ sizes))
    return np.concatenate(parts)


def resampled_seeds(
    tuned: Float[np.ndarray, "R S"], rng: np.random.Generator
) -> Float[np.ndarray, " R"]:
    """The mean over a resample, with replacement, of the S seeds in each of the R item resamples.

    A resample of S seeds varies (S - 1) / S times as much as S fresh ones would, so its distance from the mean of
    all is stretched by sqrt(S / (S - 1)) (Rao and Wu 1988).
    """
    num, seeds = tuned.shape
    centre = tuned.mean(1)
    if seeds == 1:
        return centre
    chosen = rng.integers(seeds, size=(num, seeds))
    drawn = np.take_along_axis(tuned, chosen, axis=1).mean(1)
    return centre + np.sqrt(seeds / (seeds - 1)) * (drawn - centre)


def paired_difference(scores: Clustered, confidence: float, resamples: int, seed: int) -> Interval:
    """Mean of the tuned models (columns 1..S, one a seed) minus the base (column 0), on the same
    questions.

    Percentile bootstrap that resamples the questions (shared by base and tuned) and, with several
    seeds, the seeds too. Few seeds make the interval too narrow: two cannot show how much a third
    would differ.
    """
    rng = np.random.default_rng(seed)
    draws = resampled_means(scores, resamples, rng)
    estimate = means(scores)
    difference = float(estimate[1:].mean() - estimate[0])
    low, high = _percentiles(resampled_seeds(draws[:, 1:], rng) - draws[:, 0], confidence)
    num_seeds = scores.sums.shape[1] - 1
    formula = "paired bootstrap over questions" + (
        f" and {num_seeds} seeds" if num_seeds > 1 else ""
    )
    return Interval(difference, low, high, int((scores.sizes > 0).all(1).sum()), formula)


def pass_at_k(
    num_samples: Int[np.ndarray, " C"], num_correct: Int[np.ndarray, " C"], k: int
) -> Float[np.ndarray, " C"]:
    """Chance that at least one of k samples drawn from the n made is right: 1 - C(n - c, k) / C(n,
    k).

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), through log factorials.

    Raises:
      ValueError: when k is larger than a question's number of samples.
    """
    n, c = np.asarray(num_samples, int), np.asarray(num_correct, int)
    if k < 1 or (n < k).any():
        raise UserError(
            f"pass@k: expected 1 <= k <= {n.min()}, the samples of every question, got k = {k}."
        )
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n.max() + 1)))])
    wrong = n - c
    missed = (
        log_factorial[wrong]
        - log_factorial[np.maximum(wrong - k, 0)]
        - log_factorial[n]
        + log_factorial[n - k]
    )
    return np.where(wrong >= k, -np.expm1(missed), 1.0)
