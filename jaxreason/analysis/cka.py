"""Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414), layer by layer, as a
distance.
"""

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.measured import Measured, Prepared


def gram(features: Float[np.ndarray, "N Z D"]) -> Float[np.ndarray, "Z N N"]:
    """Inner products of the texts' features, layer by layer, about the mean of all texts."""
    centred = np.moveaxis(features - features.mean(0), 1, 0).astype(np.float64)
    return centred @ np.moveaxis(centred, -1, -2)


def linear_cka(
    base: Float[np.ndarray, "Z N N"], tuned: Float[np.ndarray, "Z N N"]
) -> Float[np.ndarray, " Z"]:
    """<K, L> / (|K| |L|) of centred Gram matrices; 1 where neither varies, 0 if only one does."""
    base, tuned = _centre(base), _centre(tuned)
    norms = np.linalg.norm(base, axis=(1, 2)), np.linalg.norm(tuned, axis=(1, 2))
    still = [norm <= np.finfo(np.float32).eps for norm in norms]
    product = np.einsum("ZNM,ZNM->Z", base, tuned)
    similarity = product / np.where(still[0] | still[1], 1.0, norms[0] * norms[1])
    return np.where(still[0] & still[1], 1.0, np.where(still[0] | still[1], 0.0, similarity))


def _centre(kernel: Float[np.ndarray, "Z N N"]) -> Float[np.ndarray, "Z N N"]:
    rows = kernel.mean(-1, keepdims=True)
    return kernel - rows - np.swapaxes(rows, -1, -2) + kernel.mean((-2, -1), keepdims=True)


def cka_distance(measured: Measured) -> Prepared:
    """1 - CKA of every pooling: `distance.<pooling>` (mean over layers), `final_distance.<pooling>`
    (the last).
    """
    kernels = {
        pool: (gram(measured.base[pool]), gram(measured.tuned[pool])) for pool in measured.base
    }

    def statistic(texts):
        values = {}
        for pool, (base, tuned) in kernels.items():
            pick = np.ix_(range(len(base)), texts, texts)
            distances = 1 - linear_cka(base[pick], tuned[pick])
            values[f"distance.{pool}"] = float(distances.mean())
            values[f"final_distance.{pool}"] = float(distances[-1])
        return values

    layers = {pool: {"cka": linear_cka(*pair).tolist()} for pool, pair in kernels.items()}
    return Prepared(statistic, layers)
