"""How far the texts' features moved on average, and how much their covariance changed: the two parts of the Frechet
distance (the 2-Wasserstein distance of Gaussians, Dowson and Landau 1982; the second part is Bures').

With fewer texts than dimensions no D x D matrix is needed: of centred features X, Y [N, D],
tr((C_x^1/2 C_y C_x^1/2)^1/2) is the sum of the singular values of X Y' [N, N].
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.layerwise import centred, layer_metric, scatter
from jaxreason.analysis.metric_types import Prepared, TextMeasurements

FEWEST_TEXTS = 2  # that have a covariance


class FrechetProducts(NamedTuple):
    """Products of the texts' features in one layer, each [N, N]."""

    base: np.ndarray  # of the base's centred features
    tuned: np.ndarray
    moved: np.ndarray  # of tuned - base
    coupled: np.ndarray  # whose diagonal sums to twice the trace of the square root


def frechet_products(
    base: Float[np.ndarray, "N D"], tuned: Float[np.ndarray, "N D"]
) -> FrechetProducts:
    """The sums from which both parts are computed, for one layer."""
    moved = tuned.astype(np.float64) - base
    base, tuned = centred(base), centred(tuned)
    left, values, right = np.linalg.svd(base @ tuned.T)
    # With X Y' = U S V', the transport between the two Gaussians takes u to V S V' where it came from U S U': fixed,
    # it bounds the trace of the root in a resample from above, and is exact in first order.
    coupled = (left * values) @ left.T + (right.T * values) @ right
    return FrechetProducts(base @ base.T, tuned @ tuned.T, moved @ moved.T, coupled)


def frechet_parts(
    layer: FrechetProducts, held: Float[np.ndarray, "r N"]
) -> dict[str, Float[np.ndarray, " r"]]:
    """Both parts in resamples, as shares of the base's variance (the trace of its covariance); the transport held
    fixed.

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
    """`mean.<pooling>` and `covariance.<pooling>`, means over the layers in which the base's features vary; details by
    layer. Nothing of a single text.
    """
    if len(measured.mask) < FEWEST_TEXTS:
        reason = f"1 text has no covariance; it takes {FEWEST_TEXTS}"
        return Prepared(lambda texts: {}, {"undefined": reason})
    return layer_metric(measured, frechet_products, frechet_parts)
