"""Sink tokens: a few tokens, mostly the first, whose states in the middle of a model have norms a hundred times larger
than all others and carry little information about the text (Xiao et al. 2023, arXiv 2309.17453; Sun et al. 2024, arXiv
2402.17762).

They are found layer by layer, by a rule that uses neither their positions nor the model: `hidden_states.SINK_RATIO`.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxreason.analysis.hidden_states import SINK_RATIO
from jaxreason.analysis.layerwise import resample_counts
from jaxreason.analysis.metric_types import Prepared, Sinks, TextMeasurements, of_many

EDGES = tuple(2**power for power in range(20))  # Positions in the text 1, 2, 3-4, 5-8, ...


def count_sinks(
    base: Float[Array, "B T"],
    tuned: Float[Array, "B T"],
    excluded: Bool[Array, "B T"],
    reply_mask: Float[Array, "B T"],
) -> dict[str, Float[Array, "B ..."]]:
    """Returns the fields of `Sinks` in one layer of a batch, from both models' `relative_lengths`."""
    ranges, out = _ranges(base.shape[-1]), excluded.astype(jnp.float32)
    return {
        "base": (base > SINK_RATIO).astype(jnp.float32) @ ranges,
        "tuned": (tuned > SINK_RATIO).astype(jnp.float32) @ ranges,
        "excluded": out @ ranges,
        "excluded_of_reply": (out * reply_mask).sum(1),
        "base_ratio": base.max(-1),
        "tuned_ratio": tuned.max(-1),
    }


def _ranges(length: int) -> Float[np.ndarray, "T P"]:
    """Returns 1 where a position is in a range, else 0."""
    place = np.searchsorted(EDGES, np.arange(length) + 1)
    return (place[:, None] == np.arange(len(EDGES))).astype(np.float32)


def sink_change(measured: TextMeasurements) -> Prepared:
    """`largest_state`: mean over texts of |log(ratio of the tuned model / ratio of the base)| in the middle layer,
    where a ratio is the largest norm of a state over the text's median.

    Details, all as mean numbers per text: sinks of both models by position and layer, the sinks that the poolings
    without sinks leave out by layer, and the ratios by layer.
    """
    sinks = measured.sinks
    middle = sinks.base_ratio.shape[1] // 2
    ratios = [
        ratio[:, middle].astype(np.float64) for ratio in (sinks.base_ratio, sinks.tuned_ratio)
    ]
    change = np.abs(np.log(ratios[1]) - np.log(ratios[0]))

    def statistics(texts):
        held = resample_counts(texts, len(change))
        return {"largest_state": held @ change / held.sum(1)}

    return of_many(statistics, {"rule": {"ratio": SINK_RATIO}, "middle": middle} | _details(sinks))


def _details(sinks: Sinks) -> dict[str, Any]:
    by_layer = {
        "excluded": sinks.excluded.sum(-1),
        "excluded_of_reply": sinks.excluded_of_reply,
        "base_ratio": sinks.base_ratio,
        "tuned_ratio": sinks.tuned_ratio,
    }
    means = {name: found.mean(0).astype(float).tolist() for name, found in by_layer.items()}
    return means | {"by_position": _by_position(sinks)}


def _by_position(sinks: Sinks) -> list[dict]:
    """Returns the ranges of positions with a sink of either model in any layer: mean numbers per text by layer."""
    rows, first = [], 1
    for place, last in enumerate(EDGES):
        found = {"base": sinks.base[:, :, place], "tuned": sinks.tuned[:, :, place]}
        if any(number.any() for number in found.values()):
            means = {name: number.mean(0).astype(float).tolist() for name, number in found.items()}
            rows.append({"first": first, "last": last, **means})
        first = last + 1
    return rows
