"""The parts of the difference between the tuned model's features and the base's: a shift, a rotation, a scaling, and
the rest (orthogonal Procrustes, Schoenemann 1966; as a distance of representations, Williams et al. 2021, arXiv
2110.14739).

The mean squared distance between both models' features of the same text is the sum of these four parts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.layerwise import FLAT, centred, layer_metric, scatter
from jaxreason.analysis.metric_types import Prepared, TextMeasurements

FEWEST_TEXTS = 2


class ProcrustesProducts(NamedTuple):
    """Products of the texts' features in one layer, each [N, N]."""

    base: np.ndarray  # Of the base's centred features.
    tuned: np.ndarray
    moved: np.ndarray  # Of tuned - base, each centred.
    turned: np.ndarray  # Of the tuned features with the base's in the best rotation.


def procrustes_products(
    base: Float[np.ndarray, "N D"], tuned: Float[np.ndarray, "N D"]
) -> ProcrustesProducts:
    """Returns the sums from which the parts are computed, for one layer."""
    base, tuned = centred(base), centred(tuned)
    kernels = base @ base.T, tuned @ tuned.T
    moved = tuned - base
    return ProcrustesProducts(*kernels, moved @ moved.T, _turned(*kernels))


def _turned(base: Float[np.ndarray, "N N"], tuned: Float[np.ndarray, "N N"]) -> np.ndarray:
    """Returns X Q Y' with the orthogonal Q that maximises its trace, computed from X X' and Y Y' alone.

    With X = U S V' and Y = W R Z', X'Y = V (S U'W R) Z'; if the bracket is A T B', Q is V A B' Z'.
    """
    (left, right), (one, other) = zip(*(_root(kernel) for kernel in (base, tuned)), strict=True)
    ours, _, theirs = np.linalg.svd((one[:, None] * (left.T @ right)) * other)
    return ((left * one) @ (ours @ theirs)) @ (right * other).T


def _root(kernel: Float[np.ndarray, "N N"]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the left singular vectors and the singular values of the features from which a kernel was made."""
    # The kernel is positive semidefinite, but rounding makes its smallest eigenvalues negative; their root is set to 0.
    values, vectors = np.linalg.eigh(kernel)
    return vectors, np.sqrt(np.maximum(values, 0))


def procrustes_parts(
    layer: ProcrustesProducts, held: Float[np.ndarray, "r N"]
) -> dict[str, Float[np.ndarray, " r"]]:
    """Returns the parts beside the shift in resamples, as shares of the base's variance; the rotation is held fixed.

    They are NaN in a resample in which the base's features do not vary. With the squared distance
    d(s, Q) = mean |y - s Q x|^2 of centred features x, y of the base and the tuned model:

    Returns:
      `rotation`: d(1, 1) - min over Q of d(1, Q).
      `scaling`: min over Q of d(1, Q) - min over Q and s of d(s, Q).
      `rest`: min over Q and s of d(s, Q), which no rotation and no scaling explains.
    """
    base, tuned, moved, turned = (scatter(kernel, held) for kernel in layer)
    varies = base > FLAT**2 * (held @ np.diagonal(layer.base))
    scale = np.where(varies, base, np.nan)
    scaling = np.square(base - turned) / scale
    rest = tuned - np.square(turned) / scale
    rotation = moved - (base + tuned - 2 * turned)
    values = {"rotation": rotation, "scaling": scaling, "rest": rest}
    return {name: np.maximum(value, 0) / scale for name, value in values.items()}


def procrustes(measured: TextMeasurements) -> Prepared:
    """`rotation.<pooling>`, `scaling.<pooling>` and `rest.<pooling>`: means over the layers in which the base's
    features vary.

    Details by layer. Undefined for a single text.
    """
    if len(measured.mask) < FEWEST_TEXTS:
        reason = f"1 text has no shape; it takes {FEWEST_TEXTS}"
        return Prepared(lambda texts: {}, {"undefined": reason})
    return layer_metric(measured, procrustes_products, procrustes_parts)
