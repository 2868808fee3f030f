"""Metrics that are computed from each layer's features separately: means over layers, with each layer's value in
details.

Features of N texts are [N, D] with N < D, so inner products of texts [N, N] replace D x D matrices. A resample of the
texts is represented by how often it holds each text. A sum over its texts is then a product with those counts, and all
resamples need one matrix product.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxreason.analysis.metric_types import Prepared, TextMeasurements, of_many

FLAT = 1e-6  # A spread below this share of the features' size is float32 rounding.
STILL = "the base's features vary in no layer"  # Why a metric is undefined.


def resample_counts(texts: Int[np.ndarray, "r n"], num_texts: int) -> Float[np.ndarray, "r N"]:
    """Returns how often each selection holds each of `num_texts` texts."""
    rows = np.arange(len(texts))[:, None] * num_texts
    found = np.bincount((texts + rows).ravel(), minlength=len(texts) * num_texts)
    return found.reshape(len(texts), num_texts).astype(np.float64)


def centred(features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Returns features minus the mean of all texts, in float64; all 0 if they vary by no more than rounding."""
    features = features.astype(np.float64)
    found = features - features.mean(0)
    flat = np.linalg.norm(found) <= FLAT * np.linalg.norm(features)
    return np.zeros_like(found) if flat else found


def scatter(
    kernel: Float[np.ndarray, "N N"], held: Float[np.ndarray, "r N"]
) -> Float[np.ndarray, " r"]:
    """Returns the sum of squared distances from the mean, over each resample's texts.

    Args:
      kernel: inner products x_i . y_j of the features of one or of two models; for two models the result is the sum
        over texts of (x - mean x) . (y - mean y).
      held: how often a resample holds each text.
    """
    each = held @ np.diagonal(kernel)
    return each - ((held @ kernel) * held).sum(1) / held.sum(1)


Layers = list[Any]  # What a metric needs of each layer; None if the base's features do not vary.
Values = Callable[[Float[np.ndarray, "r N"]], dict[str, Float[np.ndarray, " r"]]]
Parts = Callable[[Any, Float[np.ndarray, "r N"]], dict[str, Float[np.ndarray, " r"]]]


def layer_metric(
    measured: TextMeasurements,
    make: Callable[[np.ndarray, np.ndarray], Any],
    parts: Parts,
    linear: bool = False,
) -> Prepared:
    """`<name>.<pooling>`: the mean over the layers in which the base's features vary; 0 if they vary in none.

    Args:
      measured: features of both models.
      make: computes what `parts` needs from the base's and the tuned model's features [N, D] in a layer.
      parts: computes the values [r] of each name from that and from how often resamples hold each text [r, N].
      linear: whether a resample's value is the sum of its texts' influences instead, for values that resampling biases.
    """
    num_texts = len(measured.mask)
    pools = {
        pool: [
            make(base, tuned) if centred(base).any() else None
            for base, tuned in zip(
                _layers(measured.base[pool]), _layers(measured.tuned[pool]), strict=True
            )
        ]
        for pool in measured.base
    }

    if all(layer is None for layers in pools.values() for layer in layers):
        return Prepared(lambda texts: {}, {"undefined": STILL})
    means = {pool: functools.partial(_mean, layers, parts) for pool, layers in pools.items()}
    if linear:
        means = {pool: linearised(mean, num_texts) for pool, mean in means.items()}

    def statistics(texts):
        held = resample_counts(texts, num_texts)
        found = {pool: mean(held) for pool, mean in means.items()}
        names = {name: None for part in found.values() for name in part}
        zero = np.zeros(len(texts))
        return {f"{name}.{p}": part.get(name, zero) for name in names for p, part in found.items()}

    return of_many(statistics, {pool: _by_layer(x, parts, num_texts) for pool, x in pools.items()})


def linearised(values: Values, num_texts: int) -> Values:
    """Returns a linear approximation of a function of how often resamples hold each text.

    It is the value on all texts plus the influence of each text, as the jackknife finds it (the infinitesimal
    jackknife, Efron 1982); never below 0.
    """
    whole, without = values(np.ones((1, num_texts))), values(1 - np.eye(num_texts))
    influence = {n: (num_texts - 1) * (part.mean() - part) for n, part in without.items()}

    def approximate(held: Float[np.ndarray, "r N"]) -> dict[str, Float[np.ndarray, " r"]]:
        shares = held / held.sum(1, keepdims=True)
        return {n: np.maximum(whole[n] + shares @ part, 0) for n, part in influence.items()}

    return approximate


def _layers(features: Float[np.ndarray, "N Z D"]) -> Float[np.ndarray, "Z N D"]:
    return np.moveaxis(features, 1, 0)


def _mean(layers: Layers, parts: Parts, held: np.ndarray) -> dict[str, np.ndarray]:
    found = [parts(layer, held) for layer in layers if layer is not None]
    return (
        {name: np.mean([part[name] for part in found], axis=0) for name in found[0]}
        if found
        else {}
    )


def _by_layer(layers: Layers, parts: Parts, num_texts: int) -> dict[str, list[float | None]]:
    """Returns every layer's values on all texts; None if the base's features do not vary."""
    held = np.ones((1, num_texts))
    found = [None if layer is None else parts(layer, held) for layer in layers]
    names = next((tuple(part) for part in found if part), ())
    return {n: [None if part is None else float(part[n][0]) for part in found] for n in names}
