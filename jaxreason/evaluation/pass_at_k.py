"""pass@k: the chance that one of k samples is right."""

import numpy as np
from jaxtyping import Float, Int

from jaxreason.errors import UserError


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
