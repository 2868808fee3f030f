"""The two parts of the Frechet distance of the texts' features: how far their mean moved, and how much their covariance
changed (the 2-Wasserstein distance of Gaussians, Dowson and Landau 1982; the second part is the Bures distance).

With fewer texts than dimensions no D x D matrix is needed: for centred features X, Y [N, D], tr((C_x^1/2 C_y
C_x^1/2)^1/2) is the sum of the singular values of X Y' [N, N].
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.layerwise import centred, layer_metric
from jaxreason.analysis.metric_types import Prepared, TextMeasurements

FEWEST_TEXTS = 2  # Fewer texts have no covariance.


class FrechetShares(NamedTuple):
    """What each text adds to three means over the texts of one layer."""

    spread: Float[np.ndarray, " N"]  # The base's variance (the trace of its covariance).
    mean: Float[np.ndarray, " N"]
    covariance: Float[np.ndarray, " N"]


def frechet_shares(
    base: Float[np.ndarray, "N D"], tuned: Float[np.ndarray, "N D"]
) -> FrechetShares:
    """Returns the means' parts from which both distances are computed, for one layer."""
    moved = tuned.astype(np.float64) - base
    shift = moved.mean(0)
    base, tuned = centred(base), centred(tuned)
    left, values, right = np.linalg.svd(base @ tuned.T)
    # With X Y' = U S V', the optimal transport between the two Gaussians gives the diagonal of U S U' + V S V', whose
    # sum is twice the trace of the root.
    coupled = np.square(left) @ values + values @ np.square(right)
    spread = np.square(base).sum(1)
    # The mean of 2 moved . shift - |shift|^2 is |shift|^2, and changes with the texts as that does to first order.
    mean = 2 * moved @ shift - shift @ shift
    return FrechetShares(spread, mean, spread + np.square(tuned).sum(1) - coupled)


def frechet_parts(
    layer: FrechetShares, held: Float[np.ndarray, "r N"]
) -> dict[str, Float[np.ndarray, " r"]]:
    """Returns both parts in resamples, as shares of the base's variance (the trace of its covariance).

    In a resample they are the values on all texts and the influence of each text, in proportion to how often it is
    there (the infinitesimal jackknife, Efron 1982). A resample's own |mean tuned - mean base|^2 would be larger by the
    variance of a mean of texts: intervals of a small shift would lie above it.

    Returns:
      `mean`: |mean tuned - mean base|^2 / tr C_base.
      `covariance`: (tr C_base + tr C_tuned - 2 tr (C_base^1/2 C_tuned C_base^1/2)^1/2) / tr C_base.
    """
    shares, spread = held / held.sum(1, keepdims=True), layer.spread.mean()
    values = {}
    for name, part in (("mean", layer.mean), ("covariance", layer.covariance)):
        whole = part.mean() / spread
        influence = (part - whole * layer.spread) / spread
        values[name] = np.maximum(whole + shares @ influence, 0)
    return values


def frechet(measured: TextMeasurements) -> Prepared:
    """`mean.<pooling>` and `covariance.<pooling>`: means over the layers in which the base's features vary; details by
    layer. Undefined for a single text.
    """
    if len(measured.mask) < FEWEST_TEXTS:
        reason = f"1 text has no covariance; it takes {FEWEST_TEXTS}"
        return Prepared(lambda texts: {}, {"undefined": reason})
    return layer_metric(measured, frechet_shares, frechet_parts)
