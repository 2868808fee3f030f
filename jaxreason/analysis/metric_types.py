"""The inputs and outputs of metrics of two models: arrays reduced over the texts of one benchmark, and values."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jaxreason.analysis.reading import Reading


class Sinks(NamedTuple):
    """Tokens whose state has a far larger norm than those of the text's other tokens (`hidden_states.SINK_RATIO`).

    They are counted in each layer by place in the text: `P` ranges of positions that end at 1, 2, 4, 8, ..., counted
    from 1.
    """

    base: Float[np.ndarray, "N Z P"]
    tuned: Float[np.ndarray, "N Z P"]
    # Sinks of either model: poolings without sinks leave them out.
    excluded: Float[np.ndarray, "N Z P"]
    excluded_of_reply: Float[np.ndarray, "N Z"]
    base_ratio: Float[np.ndarray, "N Z"]  # The largest norm of a state over the median.
    tuned_ratio: Float[np.ndarray, "N Z"]


class TextMeasurements(NamedTuple):
    """The measurements of N texts, read by both models. `Z` is L + 1 states (embeddings, then every block), `R` the
    longest reply.

    Models of different depth or width have different Z or D, and no `cosine_distance`. A metric gets them only if its
    entry in METRICS says `any_shape`.
    """

    base: dict[str, Float[np.ndarray, "N Z D"]]  # Pooled hidden states by pooling.
    tuned: dict[str, Float[np.ndarray, "N Z D"]]
    cosine_distance: Float[np.ndarray, "N Z"] | None  # Mean over reply tokens.
    # One value per reply token, 0 after the end: TOKEN_VALUES of `paired_forward`, and `token`, the id that was
    # written.
    tokens: dict[str, Shaped[np.ndarray, "N R"]]
    mask: Bool[np.ndarray, "N R"]
    sinks: Sinks | None = None  # None for models of different shapes.
    reading: Reading | None = None  # Further data for metrics that show tokens.


class Prepared(NamedTuple):
    """A metric that can be evaluated on any selection (with repeats) of the texts; NaN if it is undefined there.

    `statistics`, if a metric has it, evaluates many selections of one length at once.
    """

    statistic: Callable[[Int[np.ndarray, " n"]], dict[str, float]]
    details: dict[str, Any]
    statistics: Callable[[Int[np.ndarray, "r n"]], dict[str, Float[np.ndarray, " r"]]] | None = None


def of_many(
    statistics: Callable[[Int[np.ndarray, "r n"]], dict[str, Float[np.ndarray, " r"]]],
    details: dict[str, Any],
) -> Prepared:
    """Returns a metric that is evaluated on many selections at once."""

    def statistic(texts: Int[np.ndarray, " n"]) -> dict[str, float]:
        return {name: float(found[0]) for name, found in statistics(texts[None]).items()}

    return Prepared(statistic, details, statistics)


class Bootstrapped(NamedTuple):
    """The values of a metric on all texts, and on resamples of them."""

    values: dict[str, float]
    draws: dict[str, Float[np.ndarray, " r"]]


def bootstrap(
    prepared: Prepared,
    clusters: Sequence[int],
    resamples: int,
    seed: tuple[int, ...],
    found: Mapping[str, float] | None = None,
) -> Bootstrapped:
    """Evaluates a metric on all texts and on `resamples` samples of their clusters with replacement.

    The same seed gives the same resamples for every metric, so runs that read the same texts stay paired. A value that
    is undefined (NaN) on all texts is left out. A resample on which a value is undefined (NaN, or not returned) is
    replaced by another one on which it is defined.

    Args:
      prepared: the metric.
      clusters: of each text, numbered from 0 without gaps; texts of one cluster are drawn together.
      resamples: how many.
      seed: of the draws.
      found: the values on all texts, if they are known.
    """
    found = prepared.statistic(np.arange(len(clusters))) if found is None else found
    values = {name: value for name, value in found.items() if not math.isnan(value)}
    drawn = resampled_texts(clusters, resamples, seed)
    draws = {name: np.empty(resamples) for name in values}
    lengths = np.array([len(texts) for texts in drawn])
    for length in np.unique(lengths):  # Only selections of one length are evaluated at once.
        rows = np.flatnonzero(lengths == length)
        many = _of_selections(prepared, np.stack([drawn[row] for row in rows]), list(values))
        for name, draw in draws.items():
            draw[rows] = many[name]
    defined = {name: _defined(draw, values[name]) for name, draw in draws.items()}
    return Bootstrapped(values, defined)


def resampled_texts(
    clusters: Sequence[int], resamples: int, seed: tuple[int, ...]
) -> list[Int[np.ndarray, " n"]]:
    """Returns the texts of each resample: of clusters, as many as there are, drawn with replacement."""
    texts, sizes = np.argsort(clusters, kind="stable"), np.bincount(clusters)
    firsts = np.cumsum(sizes) - sizes  # Of each cluster, in `texts`.
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(resamples, len(sizes)))
    lengths = sizes[drawn].ravel()
    ends = np.cumsum(lengths)
    places = np.repeat(firsts[drawn].ravel() - (ends - lengths), lengths) + np.arange(ends[-1])
    return np.split(texts[places], ends[len(sizes) - 1 : -1 : len(sizes)])


def _of_selections(
    prepared: Prepared, texts: Int[np.ndarray, "r n"], names: Sequence[str]
) -> Mapping[str, Float[np.ndarray, " r"]]:
    if prepared.statistics is not None:
        return prepared.statistics(texts)
    found = [prepared.statistic(row) for row in texts]
    return {name: np.array([each.get(name, math.nan) for each in found]) for name in names}


def _defined(draws: Float[np.ndarray, " r"], value: float) -> Float[np.ndarray, " r"]:
    """Returns the draws; undefined ones are replaced by the defined ones in turn, or by the value without any."""
    undefined = np.isnan(draws)
    others = draws[~undefined] if not undefined.all() else np.array([value])
    draws[undefined] = np.resize(others, undefined.sum())
    return draws
