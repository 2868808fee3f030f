"""Samples grouped by question, for several models on the same questions; their means and standard errors.

Scores are numbers in 0..1, and NaN if a grader failed: such a sample is left out, and the sizes show it. Samples of one
question form a cluster. Subsets of a benchmark (and benchmarks of a group) form strata, whose means are averaged.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxreason.errors import UserError

ROUNDING = 1e-12  # Shares that differ by less are equal.


@dataclasses.dataclass(frozen=True)
class SampleScores:
    """One metric of one model, one value per sample; NaN for a sample that was not graded."""

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


def cluster(models: Sequence[SampleScores]) -> Clustered:
    """Groups the samples of each model by question.

    Raises:
      ValueError: the models were not asked the same questions.
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
        # All subsets have equal weight, independent of their numbers of questions.
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
    # A sample that was not graded is left out of numerator and denominator; it counts neither as right nor as wrong.
    graded = ~np.isnan(scores.values)
    weights = np.where(graded, scores.weights, 0.0)
    values = np.where(graded, scores.values, 0.0)
    return np.bincount(index, weights * values, num), np.bincount(index, weights, num)


def _is_binary(scores: SampleScores) -> bool:
    values = scores.values[~np.isnan(scores.values)]
    return bool(np.isin(values, (0.0, 1.0)).all() and (scores.weights == 1).all())


def merge(parts: Sequence[Clustered]) -> Clustered:
    """Returns benchmarks as strata of one group: the mean of the result is the mean of their means."""
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
    """Returns the weighted mean over strata of sum / count; NaN if a stratum has no graded sample."""
    sums, sizes = by_stratum(scores, scores.sums), by_stratum(scores, scores.sizes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return scores.weights @ (sums / sizes)


def by_stratum(scores: Clustered, values: Float[np.ndarray, "C K"]) -> Float[np.ndarray, "S K"]:
    """Returns the sums over the clusters of each stratum."""
    onehot = np.arange(len(scores.weights))[:, None] == scores.strata
    return onehot.astype(float) @ values


def select(scores: Clustered, columns: Sequence[int]) -> Clustered:
    """Returns the same questions with only some of the models."""
    columns = list(columns)
    return dataclasses.replace(scores, sums=scores.sums[:, columns], sizes=scores.sizes[:, columns])


def counts(scores: Clustered) -> Int[np.ndarray, "S K"]:
    """Returns how many clusters of each stratum have a graded sample."""
    return by_stratum(scores, (scores.sizes > 0).astype(float)).astype(int)


def unvarying(
    scores: Clustered, shares: Float[np.ndarray, "C K"] | None = None
) -> Bool[np.ndarray, "S K"]:
    """Returns the strata in which all questions have the same share, so that resamples of them do not vary.

    Args:
      scores: of the models.
      shares: of each question; None takes those of the scores. NaN is left out.
    """
    shares = question_shares(scores) if shares is None else shares
    result = np.zeros((len(scores.weights), shares.shape[1]), bool)
    for number in range(len(scores.weights)):
        rows = shares[scores.strata == number]
        highest = np.where(np.isnan(rows), -np.inf, rows).max(0)
        lowest = np.where(np.isnan(rows), np.inf, rows).min(0)
        result[number] = (highest - lowest < ROUNDING) & np.isfinite(highest)
    return result


def question_shares(scores: Clustered) -> Float[np.ndarray, "C K"]:
    """Returns the mean score of each question; NaN if none of its samples was graded."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return scores.sums / scores.sizes


def standard_errors(scores: Clustered) -> Float[np.ndarray, " K"]:
    """Returns the cluster-robust standard errors of `means`.

    In each stratum the variance is C/(C-1) sum_c (sum_c - m size_c)^2 / size^2, for C clusters with a graded sample. A
    stratum of a single one has no spread of its own: its variance is taken as the overall m (1 - m). If all C clusters
    of a stratum are alike, two successes and two failures are added to compute its variance (Agresti and Coull 1998).
    """
    overall, alike, number_of = means(scores), unvarying(scores), counts(scores)
    variances = []
    for number, count in enumerate(number_of):
        rows = scores.strata == number
        sums, sizes = scores.sums[rows], scores.sizes[rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = sums.sum(0) / sizes.sum(0)
            # The sandwich estimator of a ratio of sums: the samples of one question may be correlated in any way.
            residuals = sums - mean * sizes
            found = count / (count - 1) * (residuals**2).sum(0) / sizes.sum(0) ** 2
        added = (mean * count + 2) / (count + 4)
        found = np.where(alike[number], added * (1 - added) / (count + 4), found)
        variances.append(np.where(count == 1, overall * (1 - overall), found))
    return np.sqrt(scores.weights**2 @ np.stack(variances))


def ratio_error(sums: Float[np.ndarray, " N"], numbers: Float[np.ndarray, " N"]) -> float | None:
    """Returns the standard error of r = sum(sums) / sum(numbers): sqrt(k / (k - 1) * sum_i (s_i - r n_i)^2) / sum(n).

    Args:
      sums: sums of the values of each cluster.
      numbers: numbers of values in each cluster; clusters without values are ignored.

    Returns:
      None if fewer than two clusters have a value: one cluster alone says nothing about the spread.
    """
    sums, numbers = np.asarray(sums, float), np.asarray(numbers, float)
    num_clusters = int((numbers > 0).sum())
    if num_clusters < 2:
        return None
    apart = np.sum((sums - sums.sum() / numbers.sum() * numbers) ** 2)
    return float(np.sqrt(apart * num_clusters / (num_clusters - 1)) / numbers.sum())


def pooled_mean(
    means: list[float], errors: list[float | None], numbers: list[int]
) -> tuple[float, float | None]:
    """Returns the mean of all values of several strata, and its standard error (None if it cannot be computed).

    Strata without an error of their own (a single cluster each) are combined into one stratum, in which each is a
    cluster.

    Args:
      means: means of the strata.
      errors: standard errors of those means.
      numbers: numbers of values behind each mean.
    """
    n, m = np.array(numbers, float), np.array(means, float)
    single = np.array([error is None for error in errors])
    parts = [(n[i] * error) ** 2 for i, error in enumerate(errors) if error is not None]
    if single.any():
        together = ratio_error((n * m)[single], n[single])
        if together is None:
            return float((n * m).sum() / n.sum()), None
        parts.append((n[single].sum() * together) ** 2)
    return float((n * m).sum() / n.sum()), float(np.sqrt(sum(parts)) / n.sum())
