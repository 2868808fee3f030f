"""Pooling and comparing hidden states on the device, so that [L+1, B, T, D] never leaves it.

Hidden states are Hugging Face's `hidden_states`: the embeddings, then every block's output, the
last one after the final norm. `extract_states` gives them to programs that want them pooled or token by token.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxreason.analysis.metric_types import Prepared, TextMeasurements
from jaxreason.analysis.texts import TextBatch
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.lockstep import walk

# A token is a sink in a layer if its state there is that many times longer than the text's median one.
SINK_RATIO = 10.0


def pooling_masks(
    segment_ids: Int[Array, "B T"], reply_mask: Float[Array, "B T"]
) -> dict[str, Float[Array, "B T"]]:
    """Which positions are averaged: `reply` tokens, `all` but padding, or the `last` token of the
    text.
    """
    real = segment_ids > 0
    last = real & ~jnp.pad(real[:, 1:], ((0, 0), (0, 1)))
    return {"reply": reply_mask, "all": real.astype(jnp.float32), "last": last.astype(jnp.float32)}


def relative_lengths(
    states: Float[Array, "B T D"], segment_ids: Int[Array, "B T"]
) -> Float[Array, "B T"]:
    """Lengths of the states of a layer over the median of their text's; 0 for padding."""
    real = segment_ids > 0
    lengths = jnp.linalg.norm(states.astype(jnp.float32), axis=-1)
    median = jnp.nanmedian(jnp.where(real, lengths, jnp.nan), axis=-1, keepdims=True)
    return jnp.where(real, lengths / jnp.maximum(median, jnp.finfo(jnp.float32).tiny), 0.0)


def find_sinks(base: Float[Array, "B T"], tuned: Float[Array, "B T"]) -> Bool[Array, "B T"]:
    """Tokens that are a sink of either model in a layer, from both models' `relative_lengths`: what is left out of one
    model's mean is left out of the other's.
    """
    return jnp.maximum(base, tuned) > SINK_RATIO


def without_sinks(
    masks: dict[str, Float[Array, "B T"]], sinks: Bool[Array, "B T"]
) -> dict[str, Float[Array, "B T"]]:
    """The poolings `reply_no_sinks` and `all_no_sinks`; a row that would be left with no token keeps all."""
    return {f"{name}_no_sinks": _leave_out(masks[name], sinks) for name in ("reply", "all")}


def _leave_out(mask: Float[Array, "B T"], sinks: Bool[Array, "B T"]) -> Float[Array, "B T"]:
    left = jnp.where(sinks, 0.0, mask)
    return jnp.where(left.any(1, keepdims=True), left, mask)


def pool(hidden: Float[Array, "Z B T D"], mask: Float[Array, "B T"]) -> Float[Array, "B Z D"]:
    """The mean of the states where `mask` is 1, in float32; 0 for a row without any."""
    total = jnp.einsum(
        "ZBTD,BT->BZD",
        hidden,
        mask.astype(hidden.dtype),
        precision="highest",  # a TPU would round float32 states to bfloat16 first
        preferred_element_type=jnp.float32,
    )
    return total / jnp.maximum(mask.sum(1), 1)[:, None, None]


def cosine_distances(
    base: Float[Array, "Z B T D"], tuned: Float[Array, "Z B T D"], mask: Float[Array, "B T"]
) -> Float[Array, "B Z"]:
    """The mean over masked tokens of 1 - cosine of the two models' states, a layer at a time.

    Computed as |u - v|^2 / 2 of unit vectors, which is exactly 0 for equal states.
    """

    def one_layer(pair):
        u, v = (_unit(part.astype(jnp.float32)) for part in pair)
        distance = jnp.square(u - v).sum(-1) / 2
        return (distance * mask).sum(1) / jnp.maximum(mask.sum(1), 1)

    return jax.lax.map(one_layer, (base, tuned)).T


def _unit(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)


def cosine_distance(measured: TextMeasurements) -> Prepared:
    """`layer_distance`: mean over layers, `final_distance`: of the last; details by layer."""
    distances = measured.cosine_distance
    assert distances is not None  # `cosine` asks for it

    def statistic(texts):
        by_layer = distances[texts].mean(0)
        return {"layer_distance": float(by_layer.mean()), "final_distance": float(by_layer[-1])}

    return Prepared(statistic, {"by_layer": distances.mean(0).astype(np.float64).tolist()})


# `extract_states` has a parameter `pool`, as the recipe calls it.
_pool_states = pool
Pool = Literal["reply", "all", "last", "none"]
POOLS = ("reply", "all", "last", "none")


def extract_states(
    params: dict[str, Any],
    batch: TextBatch,
    pool: Pool = "reply",
    *,
    model: Model,
    layers: Sequence[int] | None = None,
) -> Float[Array, "B Z D"] | Float[Array, "B Z T D"]:
    """Hugging Face's `hidden_states` of every text: the embeddings, then each block's output, the last after the norm.

    Meant to be called under jit (`model`, `pool` and `layers` are static), on parameters and rows that lie on a mesh as
    well. Layers are reduced one after the other: only with `pool="none"` do several layers' states exist at once.

    Args:
      params: of the model, as `open_model` gives them.
      batch: rows of texts; what `segment_ids` has as 0 is padding.
      pool: mean over `reply` tokens, mean over `all` tokens but padding, the `last` token, or `none`.
      model: static description.
      layers: which of 0 (embeddings) to L; None for all.

    Returns:
      float32 [B, Z, D], Z layers; of `none` [B, Z, T, D] in the dtype of the activations. A text without a token that
      is pooled gets zeros.

    Raises:
      UserError: no such pool or layer.
    """
    depth = model.architecture.num_hidden_layers
    layers = range(depth + 1) if layers is None else layers
    if pool not in POOLS:
        raise UserError(f"pool={pool!r}: expected one of {', '.join(POOLS)}.")
    if any(not 0 <= layer <= depth for layer in layers):
        raise UserError(f"layers={tuple(layers)}: expected numbers from 0 to {depth}.")
    given = [model], [params], batch.tokens, batch.segment_ids
    if pool == "none":
        return walk(*given, lambda x: (), keep=tuple(layers)).kept[0].swapaxes(0, 1)
    mask = pooling_masks(batch.segment_ids, batch.reply_mask)[pool]
    pooled = walk(*given, lambda x: _pool_states(x[None], mask)[:, 0]).reduced
    return pooled.swapaxes(0, 1)[:, jax.numpy.array(tuple(layers), int)]
