"""Latent PCA shift (Huan et al. 2025, sections 3.1-3.2): how far the mean state moved along the base's main axes.

Departures from the authors' code: padding is never averaged, the texts are those of the evaluations, several poolings
are computed, and the mean of the layers' shifts is given beside the shift of the layers' mean (in which shifts of
opposite sign cancel, although the sign of an axis is arbitrary).

`paper_pca_shift` is the number of the study's script: the same arithmetic on the states of `raw_questions`, with
projections that are not centred, and the distance of centres that are means over layers.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.layerwise import STILL
from jaxreason.analysis.metric_types import Prepared, TextMeasurements
from jaxreason.analysis.raw_questions import QuestionStates

FEWEST_TEXTS = 3  # Fewer texts do not span a plane.
# Number of axes whose share of the variance is kept, unless the recipe sets it.
COMPONENTS = 10


class Projected(NamedTuple):
    """Texts projected to the two main axes of the base's features, in each layer."""

    base: Float[np.ndarray, "N Z 2"]
    tuned: Float[np.ndarray, "N Z 2"]
    spread: Float[np.ndarray, " Z"]  # Standard deviation of the base's texts in that plane.
    explained: Float[np.ndarray, "Z K"]  # Share of the base's variance along each axis.
    # Share of the tuned model's variance, along its own axes.
    explained_tuned: Float[np.ndarray, "Z K"]
    in_plane: Float[
        np.ndarray, " Z"
    ]  # Share of the squared shift of the mean that lies in that plane.


def principal_axes(
    features: Float[np.ndarray, "N D"], number: int = 2
) -> tuple[Float[np.ndarray, "K D"], Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Returns the first `number` principal axes, the variances along them, and their shares of all variance.

    They are computed by SVD of the centred features, or from their inner products if there are fewer texts than
    dimensions. Signs follow scikit-learn (the largest entry of an axis is positive). An axis along which the features
    vary by no more than rounding is all zeros.
    """
    centred = features - features.mean(0)
    values, axes = _singular(centred, number)
    noise = max(features.shape) * np.finfo(np.float32).eps * np.linalg.norm(features)
    found = values > noise
    out, variances = np.zeros((number, features.shape[1])), np.zeros(number)
    for place in range(min(number, int(found.sum()))):
        axis = axes[place]
        out[place] = axis * np.sign(axis[np.argmax(np.abs(axis))])
        variances[place] = values[place] ** 2 / max(len(features) - 1, 1)
    total = (values**2).sum() / max(len(features) - 1, 1)
    return out, variances, variances / total if total > 0 else variances


def _singular(
    centred: Float[np.ndarray, "N D"], number: int
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, "k D"]]:
    """Returns all singular values, and the first `number` right singular vectors."""
    if len(centred) >= centred.shape[1]:
        _, values, axes = np.linalg.svd(centred, full_matrices=False)
        return values, axes
    squares, left = np.linalg.eigh(centred @ centred.T)
    values, left = np.sqrt(np.maximum(squares[::-1], 0)), left[:, ::-1]
    first = values[:number, None]
    return values, (left[:, :number].T @ centred) / np.where(first > 0, first, 1)


def project(
    base: Float[np.ndarray, "N Z D"],
    tuned: Float[np.ndarray, "N Z D"],
    components: int = COMPONENTS,
) -> Projected:
    """Returns both models' features on axes fitted, layer by layer, to the base's features.

    The features are not centred, as in the paper. Shares of variance are of the first `components` axes.
    """
    base, tuned = base.astype(np.float64), tuned.astype(np.float64)
    number = max(components, 2)
    fitted = [principal_axes(base[:, layer], number) for layer in range(base.shape[1])]
    others = [principal_axes(tuned[:, layer], number)[2] for layer in range(base.shape[1])]
    axes = np.stack([axes[:2] for axes, _, _ in fitted])
    return Projected(
        base=np.einsum("NZD,ZAD->NZA", base, axes),
        tuned=np.einsum("NZD,ZAD->NZA", tuned, axes),
        spread=np.sqrt(np.array([variances[:2].sum() for _, variances, _ in fitted])),
        explained=np.stack([explained[:components] for _, _, explained in fitted]),
        explained_tuned=np.stack([explained[:components] for explained in others]),
        in_plane=_share_in_plane((tuned - base).mean(0), axes),
    )


def _share_in_plane(
    moved: Float[np.ndarray, "Z D"], axes: Float[np.ndarray, "Z 2 D"]
) -> Float[np.ndarray, " Z"]:
    """Returns the share of the squared shift that lies in the plane of the axes; 0 if nothing moved."""
    along = np.square(np.einsum("ZD,ZAD->ZA", moved, axes)).sum(-1)
    whole = np.square(moved).sum(-1)
    return along / np.where(whole > 0, whole, 1)


def shifts(projected: Projected, texts: np.ndarray) -> dict[str, float]:
    """Returns the shift of a selection of texts; the axes are held fixed.

    Returns:
      `shift`: distance between the models' centres, where a centre is the mean over layers and texts (the paper's d).
      `layer_shift`: mean over layers of the distance between the layers' centres.
      `scaled_shift`: the same, with each layer's distance in units of the spread of the base's texts in the plane.
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


def too_few(num_texts: int) -> Prepared:
    """Returns the undefined metric of principal axes, for fewer texts than span a plane."""
    reason = f"{num_texts} texts span no plane; it takes {FEWEST_TEXTS}"
    return Prepared(lambda texts: {}, {"undefined": reason})


def pca_shift(measured: TextMeasurements, components: int = COMPONENTS) -> Prepared:
    """PCA shift of every pooling, as `<name>.<pooling>`.

    Details have each layer's centres, and the shares of variance of the first `components` axes. Undefined if there are
    fewer texts than span a plane, or if the base's features vary in no layer.
    """
    if len(measured.mask) < FEWEST_TEXTS:
        return too_few(len(measured.mask))
    projected = {
        pool: project(measured.base[pool], measured.tuned[pool], components)
        for pool in measured.base
    }
    if not any(part.spread.any() for part in projected.values()):
        return Prepared(lambda texts: {}, {"undefined": STILL})

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
        "explained_variance": np.round(projected.explained, 6).tolist(),
        "explained_variance_tuned": np.round(projected.explained_tuned, 6).tolist(),
        "shift_in_plane": np.round(projected.in_plane, 6).tolist(),
    }


def paper_pca_shift(states: QuestionStates) -> Prepared:
    """`shift`, the script's d. Details are its records: both models' coordinates at every layer.

    Undefined if there are fewer texts than span a plane, or if the base's features vary in no layer, as those of
    questions with the same first tokens.
    """
    num_texts = len(states.base)
    if num_texts < FEWEST_TEXTS:
        reason = f"{num_texts} questions span no plane; it takes {FEWEST_TEXTS}"
        return Prepared(lambda texts: {}, {"undefined": reason})
    projected = project(states.base, states.tuned)
    if not projected.spread.any():
        return Prepared(lambda texts: {}, {"undefined": STILL})
    base, tuned = projected.base.mean(0), projected.tuned.mean(0)
    details = {
        "base": [[0.0, second] for second in base[:, 1].tolist()],
        "tuned": [list(pair) for pair in zip((tuned - base)[:, 0].tolist(), tuned[:, 1].tolist())],
        "explained_variance": projected.explained.tolist(),
    }
    return Prepared(lambda texts: {"shift": shifts(projected, texts)["shift"]}, details)
