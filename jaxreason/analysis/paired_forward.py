"""Both models read the same texts in one jitted program; only reduced arrays leave the device.

Models of equal depth and width go through their layers side by side, so comparing their states needs only one layer of
each at a time. Other models are read one after the other, and only values of a single model are kept.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxreason.analysis.comparable import same_shape
from jaxreason.analysis.hidden_states import (
    cosine_distances,
    find_sinks,
    pool,
    pooling_masks,
    relative_lengths,
    without_sinks,
)
from jaxreason.analysis.metric_types import Sinks, TextMeasurements
from jaxreason.analysis.sinks import count_sinks
from jaxreason.analysis.texts import Batching, TextBatch, Unit, batches, in_text_order
from jaxreason.analysis.token_distributions import SCORED, scripts_scored
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import head
from jaxreason.models.lockstep import walk
from jaxreason.models.logprobs import divergences
from jaxreason.sharding import place_rows, to_host

# Values of a token of a text: name here -> name in `divergences`, where p is the base.
TOKEN_VALUES = {
    "kl_forward": "kl_pq",
    "kl_reverse": "kl_qp",
    "js": "js",
    "base_entropy": "entropy_p",
    "tuned_entropy": "entropy_q",
    "same_top": "same_top",
    "base_logprob": "logprob_p",
    "tuned_logprob": "logprob_q",
    "base_rank": "rank_p",
    "tuned_rank": "rank_q",
    # Of each model's most likely token, not of the token that was written.
    "base_top": "top_p",
    "tuned_top": "top_q",
    "base_top_base_logprob": "top_p_logprob_p",
    "base_top_tuned_logprob": "top_p_logprob_q",
    "tuned_top_base_logprob": "top_q_logprob_p",
    "tuned_top_tuned_logprob": "top_q_logprob_q",
    "base_top_tuned_rank": "top_p_rank_q",
    "tuned_top_base_rank": "top_q_rank_p",
}
NAMES = ("base", "tuned")


@functools.lru_cache(maxsize=8)  # All arms of a study share one compiled program.
def make_measure(
    base: Model, tuned: Model, chunk: int, keep: tuple[int, ...] = ()
) -> Callable[..., dict[str, Any]]:
    """Returns a jitted function of (base params, tuned params, tokens, segment_ids, reply_mask) that reduces a batch.

    For the layers `keep` it also returns the states of every token.
    """
    models = {"base": base, "tuned": tuned}

    @jax.jit
    def measure(base_params, tuned_params, tokens, segment_ids, reply_mask):
        masks = pooling_masks(segment_ids, reply_mask)
        params = {"base": base_params, "tuned": tuned_params}
        # If both models are walked layer by layer, comparing them needs only one layer of states of each in memory.
        together = [NAMES] if same_shape(base, tuned) else [(name,) for name in NAMES]
        found, finals, kept = {"pooled": {}}, {}, {}
        for names in together:
            reduce = functools.partial(_reduce_layer, names, masks, segment_ids)
            walked = walk(
                [models[name] for name in names],
                [params[name] for name in names],
                tokens,
                segment_ids,
                reduce,
                keep,
            )
            finals |= dict(zip(names, walked.finals, strict=True))
            kept |= dict(zip(names, (x.swapaxes(0, 1) for x in walked.kept), strict=True))
            reduced = jax.tree.map(lambda x: x.swapaxes(0, 1), walked.reduced)  # Rows first.
            found["pooled"] |= reduced.pop("pooled")
            found |= reduced
        heads = [head(models[name], params[name]) for name in NAMES]
        compared = (finals["base"], heads[0], finals["tuned"], heads[1], tokens)
        between = divergences(*compared, chunk=chunk)
        found["tokens"] = {ours: between[theirs] for ours, theirs in TOKEN_VALUES.items()}
        return found | ({"states": kept} if keep else {})

    return measure


def _reduce_layer(
    names: tuple[str, ...],
    masks: dict[str, Float[Array, "B T"]],
    segment_ids: Int[Array, "B T"],
    *states: Float[Array, "B T D"],
) -> dict[str, Any]:
    """Reduces one layer of the named models to arrays whose first dim is rows."""
    if len(states) == 1:
        return {"pooled": _pooled(names, masks, states)}
    lengths = [relative_lengths(x, segment_ids) for x in states]
    sinks = find_sinks(*lengths)
    return {
        "pooled": _pooled(names, masks | without_sinks(masks, sinks), states),
        "cosine": cosine_distances(states[0][None], states[1][None], masks["reply"])[:, 0],
        "sinks": count_sinks(*lengths, sinks, masks["reply"]),
    }


def _pooled(names, masks, states) -> dict[str, dict[str, Float[Array, "B D"]]]:
    return {
        name: {pooling: pool(x[None], mask)[:, 0] for pooling, mask in masks.items()}
        for name, x in zip(names, states, strict=True)
    }


def measure_unit(
    measure: Callable,
    base_params: Any,
    tuned_params: Any,
    mesh: Mesh,
    unit: Unit,
    batching: Batching,
    look: Callable[[TextBatch, dict[str, Any]], None] = lambda batch, found: None,
) -> TextMeasurements:
    """Runs `measure` over the texts of a unit; returns results in the order of its texts, whole on every process.

    `look` is called with the results of each batch, on every process.

    Raises:
      ValueError: the batch does not divide over the mesh.
    """
    longest = max(len(text.tokens) - text.reply_start for text in unit.texts)
    parts = []
    for batch in batches(unit, batching):
        found = to_host(measure(base_params, tuned_params, *place_rows(mesh, batch[:3])))
        look(batch, found)
        found.pop("states", None)
        parts.append((batch, _aligned(batch, found, longest)))
    whole = in_text_order(parts)
    pooled, mask = whole["pooled"], whole["mask"]
    sinks = Sinks(**whole["sinks"]) if "sinks" in whole else None
    tokens = whole["tokens"] | {SCORED: scripts_scored(unit.texts, mask)}
    return TextMeasurements(
        pooled["base"], pooled["tuned"], whole.get("cosine"), tokens, mask, sinks
    )


def _aligned(batch: TextBatch, found: dict, longest: int) -> dict:
    """Returns token values shifted so that column 0 is the first reply token, for every length of the prompt."""
    # Batches have different row lengths; `longest` gives all of them one width, so that they can be joined.
    starts = batch.reply_mask.argmax(1)
    columns = starts[:, None] + np.arange(longest)
    inside = columns < batch.tokens.shape[1]
    columns = np.minimum(columns, batch.tokens.shape[1] - 1)
    mask = inside & (np.take_along_axis(batch.reply_mask, columns, axis=1) > 0)
    tokens = {
        # A 0 of the same dtype, so that ids and ranks stay integers.
        name: np.where(mask, np.take_along_axis(values, columns, axis=1), values.dtype.type(0))
        for name, values in (found["tokens"] | {"token": batch.tokens}).items()
    }
    return found | {"tokens": tokens, "mask": mask}
