"""The standard error of a ratio of two sums over clusters, of which the values of one are not independent."""

import numpy as np
from jaxtyping import Float


def ratio_error(sums: Float[np.ndarray, " N"], numbers: Float[np.ndarray, " N"]) -> float | None:
    """Of r = sum(sums) / sum(numbers): sqrt(k / (k - 1) * sum_i (s_i - r n_i)^2) / sum(n).

    Args:
      sums: of the values of each cluster.
      numbers: of values in each; those without any play no part.

    Returns:
      None where fewer than two clusters have a value: one alone says nothing of its spread.
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
    """The mean of all values of several strata, and its standard error, None where that cannot be told.

    Strata without an error of their own (one cluster each) are taken together as one, each a cluster of it.

    Args:
      means: of the strata.
      errors: of those means.
      numbers: of values that each mean is of.
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
