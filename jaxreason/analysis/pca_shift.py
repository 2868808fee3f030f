"""Latent PCA shift (Huan et al. 2025, sections 3.1-3.2): how far the mean state moved along the
base's main axes.

Departures from the authors' code: padding is never averaged in, texts are the evaluated ones,
several poolings stand side by side, and the mean of the layers' shifts is given beside the shift of
the layers' mean (in which shifts of opposite sign cancel, and the sign of an axis is arbitrary).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.measured import Measured, Prepared

FEWEST_TEXTS = 3  # that span a plane


class Projected(NamedTuple):
    """Texts on the two main axes of the base's features, a row of axes a layer."""

    base: Float[np.ndarray, "N Z 2"]
    tuned: Float[np.ndarray, "N Z 2"]
    spread: Float[np.ndarray, " Z"]  # standard deviation of the base's texts in that plane
    explained: Float[np.ndarray, "Z 2"]  # share of the base's variance on each axis


def principal_axes(
    features: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, "2 D"], Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """The first two principal axes, the variances along them, and their shares of all variance.

    By SVD of the centred features. Signs follow scikit-learn (the largest entry of an axis is
    positive). An axis along which the features do not vary beyond rounding is all zeros.
    """
    centred = features - features.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    noise = max(features.shape) * np.finfo(np.float32).eps * np.linalg.norm(features)
    found = values > noise
    out, variances = np.zeros((2, features.shape[1])), np.zeros(2)
    for number in range(min(2, int(found.sum()))):
        axis = axes[number]
        out[number] = axis * np.sign(axis[np.argmax(np.abs(axis))])
        variances[number] = values[number] ** 2 / max(len(features) - 1, 1)
    total = (values**2).sum() / max(len(features) - 1, 1)
    return out, variances, variances / total if total > 0 else variances


def project(base: Float[np.ndarray, "N Z D"], tuned: Float[np.ndarray, "N Z D"]) -> Projected:
    """Both models' features on axes fitted, layer by layer, to the base's features; not centred, as
    in the paper.
    """
    base, tuned = base.astype(np.float64), tuned.astype(np.float64)
    fitted = [principal_axes(base[:, layer]) for layer in range(base.shape[1])]
    axes = np.stack([axes for axes, _, _ in fitted])
    return Projected(
        base=np.einsum("NZD,ZAD->NZA", base, axes),
        tuned=np.einsum("NZD,ZAD->NZA", tuned, axes),
        spread=np.sqrt(np.array([variances.sum() for _, variances, _ in fitted])),
        explained=np.stack([explained for _, _, explained in fitted]),
    )


def shifts(projected: Projected, texts: np.ndarray) -> dict[str, float]:
    """The shift of a selection of texts, the axes held fixed.

    Returns:
      `shift`: distance between the models' centres, a centre being the mean over layers and texts
        (the paper's d).
      `layer_shift`: mean over layers of the distance between the layers' centres.
      `scaled_shift`: the same, each layer's distance in units of the spread of the base's texts in
        the plane.
    """
    moved = (projected.tuned[texts] - projected.base[texts]).mean(0)
    norms = np.linalg.norm(moved, axis=-1)
    spread = projected.spread > 0
    scaled = norms[spread] / projected.spread[spread]
    return {
        "shift": float(np.linalg.norm(moved.mean(0))),
        "layer_shift": float(norms.mean()),
        "scaled_shift": float(scaled.mean()) if spread.any() else 0.0,
    }


def pca_shift(measured: Measured) -> Prepared:
    """PCA shift of every pooling, as `<name>.<pooling>`; details hold each layer's centres.

    Nothing where there are fewer texts than span a plane.
    """
    num_texts = len(measured.mask)
    if num_texts < FEWEST_TEXTS:
        reason = f"{num_texts} texts span no plane; it takes {FEWEST_TEXTS}"
        return Prepared(lambda texts: {}, {"undefined": reason})
    projected = {pool: project(measured.base[pool], measured.tuned[pool]) for pool in measured.base}

    def statistic(texts):
        found = {pool: shifts(part, texts) for pool, part in projected.items()}
        return {
            f"{name}.{pool}": value for pool, part in found.items() for name, value in part.items()
        }

    return Prepared(statistic, {pool: _layers(part) for pool, part in projected.items()})


def _layers(projected: Projected) -> dict:
    return {
        "base_centre": projected.base.mean(0).tolist(),
        "tuned_centre": projected.tuned.mean(0).tolist(),
        "base_spread": projected.spread.tolist(),
        "explained_variance": projected.explained.tolist(),
    }
