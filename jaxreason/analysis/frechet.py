"""The two parts of the Frechet distance of the texts' features: how far their mean moved, and how much their covariance
changed (the 2-Wasserstein distance of Gaussians, Dowson and Landau 1982; the second part is the Bures distance).

With fewer texts than dimensions no D x D matrix is needed: for centred features X, Y [N, D], tr((C_x^1/2 C_y
C_x^1/2)^1/2) is the sum of the singular values of X Y' [N, N].
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.layerwise import centred, layer_metric, scatter
from jaxreason.analysis.metric_types import Prepared, TextMeasurements

FEWEST_TEXTS = 2  # Fewer texts have no covariance.


class FrechetProducts(NamedTuple):
    """Products of the texts' features in one layer, each [N, N]."""

    base: np.ndarray  # Of the base's centred features.
    tuned: np.ndarray
    moved: np.ndarray  # Of tuned - base.
    coupled: np.ndarray  # Its diagonal sums to twice the trace of the square root.


def frechet_products(
    base: Float[np.ndarray, "N D"], tuned: Float[np.ndarray, "N D"]
) -> FrechetProducts:
    """Returns the sums from which both parts are computed, for one layer."""
    moved = tuned.astype(np.float64) - base
    base, tuned = centred(base), centred(tuned)
    left, values, right = np.linalg.svd(base @ tuned.T)
    # With X Y' = U S V', the optimal transport between the two Gaussians gives `coupled` = U S U' + V S V'. It is held
    # fixed over resamples, so it bounds the trace of the root in a resample from above, and is exact to first order.
    coupled = (left * values) @ left.T + (right.T * values) @ right
    return FrechetProducts(base @ base.T, tuned @ tuned.T, moved @ moved.T, coupled)


def frechet_parts(
    layer: FrechetProducts, held: Float[np.ndarray, "r N"]
) -> dict[str, Float[np.ndarray, " r"]]:
    """Returns both parts in resamples, as shares of the base's variance (the trace of its covariance).

    The transport map is held fixed over the resamples.

    Returns:
      `mean`: |mean tuned - mean base|^2 / tr C_base.
      `covariance`: (tr C_base + tr C_tuned - 2 tr (C_base^1/2 C_tuned C_base^1/2)^1/2) / tr C_base.
    """
    number = held.sum(1)
    spread = scatter(layer.base, held)
    mean = ((held @ layer.moved) * held).sum(1) / number
    changed = spread + scatter(layer.tuned, held) - scatter(layer.coupled, held)
    scale = np.where(spread > 0, spread, 1)
    return {"mean": mean / scale, "covariance": np.maximum(changed, 0) / scale}


def frechet(measured: TextMeasurements) -> Prepared:
    """`mean.<pooling>` and `covariance.<pooling>`: means over the layers in which the base's features vary; details by
    layer. Undefined for a single text.
    """
    if len(measured.mask) < FEWEST_TEXTS:
        reason = f"1 text has no covariance; it takes {FEWEST_TEXTS}"
        return Prepared(lambda texts: {}, {"undefined": reason})
    return layer_metric(measured, frechet_products, frechet_parts)
