"""How far the main axes of the texts' features turned: principal angles between the spans of both models' first
principal components, and how much less of the tuned model's variance lies along the base's axes than along its own.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.layerwise import centred, layer_metric
from jaxreason.analysis.metric_types import Prepared, TextMeasurements
from jaxreason.analysis.pca_shift import COMPONENTS, FEWEST_TEXTS, principal_axes, too_few

# A cosine this close to 1 counts as 1: features are float32, and angles of 1e-6 are their rounding.
ROUNDING = 1e-12
NO_VARIANCE = 1e-10  # Share of the largest variance below which an axis does not count.


class SubspaceScores(NamedTuple):
    """Features of one layer on twice as many axes as are compared; those of a resample are sought in their span."""

    base: Float[np.ndarray, "N M"]  # The base's on its own axes.
    tuned: Float[np.ndarray, "N M"]  # The tuned model's on its own axes.
    crossed: Float[np.ndarray, "N M"]  # The tuned model's on the base's axes.
    cosines: Float[np.ndarray, "M M"]  # Between the base's axes and the tuned model's.


def subspace_scores(
    base: Float[np.ndarray, "N D"], tuned: Float[np.ndarray, "N D"], components: int
) -> SubspaceScores:
    """Returns the sums from which the angles between the first `components` axes are computed, for one layer."""
    base, tuned = centred(base), centred(tuned)
    axes = [principal_axes(features, 2 * components)[0] for features in (base, tuned)]
    return SubspaceScores(
        base @ axes[0].T, tuned @ axes[1].T, tuned @ axes[0].T, axes[0] @ axes[1].T
    )


def subspace_parts(
    layer: SubspaceScores, held: Float[np.ndarray, "r N"], components: int
) -> dict[str, Float[np.ndarray, " r"]]:
    """Returns both measures in resamples, of as many axes as both models have there.

    Returns:
      `angle`: the mean of the principal angles, in degrees.
      `lost_variance`: 1 - the tuned model's variance along the base's axes / along its own.
    """
    kinds = layer.base, layer.tuned, layer.crossed
    base, tuned, crossed = (_covariances(scores, held) for scores in kinds)
    ours, theirs, number = _common_axes(base, tuned, components)
    cosines = np.linalg.svd(np.swapaxes(ours, 1, 2) @ layer.cosines @ theirs, compute_uv=False)
    cosines = np.where(cosines > 1 - ROUNDING, 1.0, cosines)
    used = np.arange(cosines.shape[1]) < number[:, None]
    angle = (np.degrees(np.arccos(cosines)) * used).sum(1) / np.maximum(number, 1)
    own = np.einsum("rMK,rMm,rmK->r", theirs, tuned, theirs, optimize=True)
    along = np.einsum("rMK,rMm,rmK->r", ours, crossed, ours, optimize=True)
    lost = np.where(own > 0, 1 - along / np.where(own > 0, own, 1), 0.0)
    return {"angle": angle, "lost_variance": np.maximum(lost, 0)}


def _covariances(scores: Float[np.ndarray, "N M"], held: np.ndarray) -> Float[np.ndarray, "r M M"]:
    number = held.sum(1)
    means = held @ scores / number[:, None]
    products = (scores[:, :, None] * scores[:, None, :]).reshape(len(scores), -1)
    squares = (held @ products / number[:, None]).reshape(len(held), *2 * scores.shape[1:])
    return squares - means[:, :, None] * means[:, None, :]


def _common_axes(base: np.ndarray, tuned: np.ndarray, components: int):
    """Returns the first axes [r, M, K] of both models; axes beyond the number [r] that both have are 0."""
    # Axes of a resample beyond its own rank are set to zero and not cut off, so that all resamples fit into one SVD.
    found, ranks = [], []
    for covariances in (base, tuned):
        values, axes = (part[..., ::-1] for part in np.linalg.eigh(covariances))
        found.append(axes[..., :components])
        ranks.append((values > NO_VARIANCE * np.maximum(values[:, :1], 0)).sum(1))
    number = np.minimum(np.minimum(*ranks), components)
    used = (np.arange(found[0].shape[-1]) < number[:, None])[:, None, :]
    return found[0] * used, found[1] * used, number


def subspaces(measured: TextMeasurements, components: int = COMPONENTS) -> Prepared:
    """`angle.<pooling>` and `lost_variance.<pooling>` of the first `components` axes: means over the layers in which
    the base's features vary; details by layer. Undefined if there are fewer texts than span a plane.
    """
    if len(measured.mask) < FEWEST_TEXTS:
        return too_few(len(measured.mask))
    make = functools.partial(subspace_scores, components=components)
    # A resample holds two thirds of the different texts, and with fewer texts all axes are further apart. Hence
    # `linear`.
    return layer_metric(
        measured, make, functools.partial(subspace_parts, components=components), linear=True
    )
