"""Both models read the same texts in one jitted program; only reduced arrays leave the device."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxreason.analysis.hidden_states import cosine_distances, pool, pooling_masks
from jaxreason.analysis.measured import Measured
from jaxreason.analysis.texts import TextBatch, Unit, batches
from jaxreason.models.decoder import Model, Output, forward, head
from jaxreason.models.logprobs import divergences
from jaxreason.sharding import place_rows, to_host

TOKEN_VALUES = {  # of a token of a text: name here -> name in `divergences`, where p is the base
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
}


@functools.lru_cache(maxsize=8)  # the arms of a study share one compiled program
def make_measure(base: Model, tuned: Model, chunk: int) -> Callable[..., dict[str, Any]]:
    """A jitted function of (base params, tuned params, tokens, segment_ids, reply_mask) that
    reduces a batch.
    """

    @jax.jit
    def measure(base_params, tuned_params, tokens, segment_ids, reply_mask):
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        outputs = [
            forward(model, params, tokens, positions, segment_ids)
            for model, params in ((base, base_params), (tuned, tuned_params))
        ]
        heads = head(base, base_params), head(tuned, tuned_params)
        return {
            "pooled": _pool_both(*outputs, pooling_masks(segment_ids, reply_mask)),
            "cosine": cosine_distances(outputs[0].hidden, outputs[1].hidden, reply_mask),
            "tokens": _compare_tokens(*outputs, *heads, tokens, chunk),
        }

    return measure


def _pool_both(
    base: Output, tuned: Output, masks: dict[str, Float[Array, "B T"]]
) -> dict[str, dict[str, Array]]:
    states = {"base": base.hidden, "tuned": tuned.hidden}
    return {
        model: {name: pool(hidden, mask) for name, mask in masks.items()}
        for model, hidden in states.items()
    }


def _compare_tokens(
    base: Output,
    tuned: Output,
    base_head: Array,
    tuned_head: Array,
    tokens: Int[Array, "B T"],
    chunk: int,
) -> dict[str, Float[Array, "B T"]]:
    between = divergences(base.final, base_head, tuned.final, tuned_head, tokens, chunk=chunk)
    return {ours: between[theirs] for ours, theirs in TOKEN_VALUES.items()}


def measure_unit(
    measure: Callable,
    base_params: Any,
    tuned_params: Any,
    mesh: Mesh,
    unit: Unit,
    batch_size: int,
    max_length: int,
) -> Measured:
    """Runs `measure` over the texts of a unit; results in the order of its texts, whole on every
    process.

    Raises:
      ValueError: the batch does not divide over the mesh.
    """
    longest = max(len(text.tokens) - text.reply_start for text in unit.texts)
    parts = []
    for batch in batches(unit, batch_size, max_length):
        found = to_host(measure(base_params, tuned_params, *place_rows(mesh, batch[:3])))
        parts.append((batch, found))
    order = np.argsort(np.concatenate([batch.rows for batch, _ in parts]))
    stacked = [
        jax.tree.map(lambda x, b=batch: x[: len(b.rows)], _aligned(batch, found, longest))
        for batch, found in parts
    ]
    whole = jax.tree.map(lambda *xs: np.concatenate(xs)[order], *stacked)
    pooled = whole["pooled"]
    return Measured(
        pooled["base"], pooled["tuned"], whole["cosine"], whole["tokens"], whole["mask"]
    )


def _aligned(batch: TextBatch, found: dict, longest: int) -> dict:
    """Token values moved so that column 0 is the first reply token, whatever the prompt's length."""
    starts = batch.reply_mask.argmax(1)
    columns = starts[:, None] + np.arange(longest)
    inside = columns < batch.tokens.shape[1]
    columns = np.minimum(columns, batch.tokens.shape[1] - 1)
    mask = inside & (np.take_along_axis(batch.reply_mask, columns, axis=1) > 0)
    tokens = {
        name: np.where(mask, np.take_along_axis(values, columns, axis=1), 0.0)
        for name, values in found["tokens"].items()
    }
    return {"pooled": found["pooled"], "cosine": found["cosine"], "tokens": tokens, "mask": mask}
