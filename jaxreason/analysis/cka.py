"""Linear centred kernel alignment (CKA, Kornblith et al. 2019, arXiv 1905.00414) of the texts' features, layer against
layer, in its plain form and debiased (Nguyen et al. 2021, arXiv 2010.15327).

With fewer texts than dimensions, plain CKA is high for any two models: it includes the product of each text with
itself, which is large in both. Debiased CKA only uses pairs of different texts.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxreason.analysis.layerwise import centred, linearised, resample_counts
from jaxreason.analysis.metric_types import Prepared, TextMeasurements, of_many

FEWEST_TEXTS = 4  # The debiased estimator needs that many.
MAPPED = "reply"  # The pooling whose layers are compared with all layers.
# Rounding of an alignment with itself, as a share of the sums from which it is computed.
ROUNDING = 1e-9

Alignment = Callable[..., Float[np.ndarray, " r"]]


def gram(features: Float[np.ndarray, "N Z D"]) -> Float[np.ndarray, "Z N N"]:
    """Returns the inner products of the texts' features, layer by layer, centred on the mean of all texts."""
    layers = (centred(features[:, layer]) for layer in range(features.shape[1]))
    return np.stack([layer @ layer.T for layer in layers])


def plain_alignment(
    first: Float[np.ndarray, "N N"],
    second: Float[np.ndarray, "N N"],
    held: Float[np.ndarray, "r N"],
) -> Float[np.ndarray, " r"]:
    """Returns <HKH, HLH> of two kernels in resamples that hold texts this often; H centres over a resample's texts."""
    a, b, c = _sums(first, second, held)
    number = held.sum(1)
    return _zero_if_rounding(a - 2 * b / number + c / number**2, a)


def debiased_alignment(
    first: Float[np.ndarray, "N N"],
    second: Float[np.ndarray, "N N"],
    held: Float[np.ndarray, "r N"],
) -> Float[np.ndarray, " r"]:
    """Returns the unbiased estimator of HSIC (Song et al. 2012): sums over two, three and four different texts.

    Copies of a text in a resample count as one text: no sum contains two of them. The result is NaN if a resample has
    fewer than four different texts.
    """
    # Sums over different texts are computed from sums over all places by inclusion and exclusion: the diagonal is
    # removed, then the part that pairs and triples of places share is subtracted. `held` weights a text by its copies;
    # powers of it count how often the same text is at two places of a sum, which must not count as two texts.
    first, second = (kernel - np.diag(np.diagonal(kernel)) for kernel in (first, second))
    a, b, c = _sums(first, second, held)
    squares = held**2
    product = first * second
    crossed = squares @ product
    with_copies = (crossed * held).sum(1)
    pairs = (crossed * squares).sum(1)
    threes = b - with_copies
    sharing_one = (squares * (held @ first) * (held @ second)).sum(1) - pairs
    fours = c - 4 * sharing_one - 2 * pairs
    two, three, four = _numbers_of_different_texts(held)
    found = a / two - 2 * threes / three + fours / four
    return np.where(four > 1, _zero_if_rounding(found, a / two), np.nan)


def _sums(first, second, held):
    """Returns the sums of K_ij L_ij, of K_ij L_ik, and of K_ij L_kl over a resample's texts."""
    ours, theirs = held @ first, held @ second
    a = ((held @ (first * second)) * held).sum(1)
    b = (held * ours * theirs).sum(1)
    return a, b, (held * ours).sum(1) * (held * theirs).sum(1)


def _zero_if_rounding(value: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.where(np.abs(value) <= ROUNDING * np.abs(size), 0.0, value)


def _numbers_of_different_texts(held: Float[np.ndarray, "r N"]) -> tuple[np.ndarray, ...]:
    """Returns how many ordered pairs, triples and quadruples of a resample's places differ in text, at least 1."""
    p1, p2, p3, p4 = ((held**power).sum(1) for power in (1, 2, 3, 4))
    pairs = p1**2 - p2
    triples = p1**3 - 3 * p1 * p2 + 2 * p3
    fours = p1**4 - 6 * p1**2 * p2 + 8 * p1 * p3 + 3 * p2**2 - 6 * p4
    return tuple(np.maximum(number, 1) for number in (pairs, triples, fours))


def similarity(
    first: Float[np.ndarray, "N N"],
    second: Float[np.ndarray, "N N"],
    held: Float[np.ndarray, "r N"],
    alignment: Alignment,
) -> Float[np.ndarray, " r"]:
    """Returns the CKA in each resample: alignment(K, L) / sqrt(alignment(K, K) alignment(L, L)).

    It is 1 if neither model varies, and 0 if only one does. The debiased CKA can be below 0 or above 1, and is NaN in
    resamples that do not define it.
    """
    own = [alignment(kernel, kernel, held) for kernel in (first, second)]
    # In a resample of few different texts, the debiased estimate of a model with itself may be below 0, which is no
    # square of a norm.
    own = [np.where(part < 0, np.nan, part) for part in own]
    size = np.sqrt(own[0] * own[1])
    found = alignment(first, second, held) / np.where(size == 0, 1, size)
    still = (own[0] == 0) & (own[1] == 0)
    return np.where(size == 0, np.where(still, 1.0, 0.0), found)


def layer_map(
    first: Float[np.ndarray, "Z N N"], second: Float[np.ndarray, "Z N N"]
) -> Float[np.ndarray, "Z Z"]:
    """Returns the debiased CKA of every layer of one model (rows) with every layer of another, on all texts."""
    one, other = (_unbiased_centre(kernel).reshape(len(kernel), -1) for kernel in (first, second))
    sizes = [np.linalg.norm(part, axis=1) for part in (one, other)]
    product, size = one @ other.T, np.outer(*sizes)
    still = np.logical_and.outer(*(part == 0 for part in sizes))
    return np.where(size > 0, product / np.where(size > 0, size, 1), np.where(still, 1.0, 0.0))


def _unbiased_centre(kernel: Float[np.ndarray, "Z N N"]) -> Float[np.ndarray, "Z N N"]:
    """Sets the diagonal to 0 and centres so that rows sum to 0 (Szekely and Rizzo 2014)."""
    number = kernel.shape[-1]
    beside = 1 - np.eye(number)
    kernel = kernel * beside
    rows = kernel.sum(-1, keepdims=True) / (number - 2)
    total = kernel.sum((-2, -1), keepdims=True) / ((number - 1) * (number - 2))
    return (kernel - rows - np.swapaxes(rows, -1, -2) + total) * beside


def cka_distance(measured: TextMeasurements) -> Prepared:
    """1 - CKA of every pooling: `distance.<pooling>` (mean over layers), `final_distance.<pooling>` (the last layer)
    and `debiased_distance.<pooling>` (mean over layers).

    Details: plain CKA and the debiased distance by layer, and for the pooling MAPPED the debiased CKA of the base's
    layers with the tuned model's and with its own. Undefined for fewer than four texts.
    """
    num_texts = len(measured.mask)
    if num_texts < FEWEST_TEXTS:
        reason = f"{num_texts} texts have no debiased CKA; it takes {FEWEST_TEXTS}"
        return Prepared(lambda texts: {}, {"undefined": reason})
    kernels = {
        pool: (gram(measured.base[pool]), gram(measured.tuned[pool])) for pool in measured.base
    }
    # The copies of texts in a resample raise its plain CKA, so that all resamples could lie below the value.
    plain = linearised(lambda held: _plain_distances(kernels, held), num_texts)

    def statistics(texts):
        held = resample_counts(texts, num_texts)
        values = plain(held)
        for pool, pair in kernels.items():
            debiased = 1 - _by_layer(*pair, held, debiased_alignment)
            values[f"debiased_distance.{pool}"] = debiased.mean(0)
        return values

    details = {pool: _details(*pair, pool == MAPPED) for pool, pair in kernels.items()}
    return of_many(statistics, details)


def _plain_distances(
    kernels: dict[str, tuple[np.ndarray, np.ndarray]], held: Float[np.ndarray, "r N"]
) -> dict[str, Float[np.ndarray, " r"]]:
    values = {}
    for pool, pair in kernels.items():
        distances = 1 - _by_layer(*pair, held, plain_alignment)
        values |= {f"distance.{pool}": distances.mean(0), f"final_distance.{pool}": distances[-1]}
    return values


def _by_layer(base, tuned, held, alignment: Alignment) -> Float[np.ndarray, "Z r"]:
    pairs = zip(base, tuned, strict=True)
    return np.stack([similarity(one, other, held, alignment) for one, other in pairs])


def _details(base: np.ndarray, tuned: np.ndarray, mapped: bool) -> dict:
    held = np.ones((1, base.shape[1]))
    found = {
        "cka": _by_layer(base, tuned, held, plain_alignment)[:, 0].tolist(),
        "debiased_distance": (1 - _by_layer(base, tuned, held, debiased_alignment))[:, 0].tolist(),
    }
    if mapped:
        maps = {"base_to_tuned": (base, tuned), "base_to_base": (base, base)}
        made = {name: layer_map(*pair) for name, pair in maps.items()}
        found |= {name: np.round(part, 4).tolist() for name, part in made.items()}
    return found
