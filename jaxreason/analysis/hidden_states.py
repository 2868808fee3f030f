"""Pooling and comparison of hidden states on the device, so that [L+1, B, T, D] never leaves it.

Hidden states are Hugging Face's `hidden_states`: the embeddings, then the output of every block, the last one after the
final norm. `extract_states` returns them to programs that need them, pooled or token by token.
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

# A token is a sink in a layer if the norm of its state there is this many times the text's median norm.
SINK_RATIO = 10.0


def pooling_masks(
    segment_ids: Int[Array, "B T"], reply_mask: Float[Array, "B T"]
) -> dict[str, Float[Array, "B T"]]:
    """Returns masks of the positions to average: `reply` tokens, `all` tokens but padding, or the text's `last`."""
    real = segment_ids > 0
    last = real & ~jnp.pad(real[:, 1:], ((0, 0), (0, 1)))
    return {"reply": reply_mask, "all": real.astype(jnp.float32), "last": last.astype(jnp.float32)}


def relative_lengths(
    states: Float[Array, "B T D"], segment_ids: Int[Array, "B T"]
) -> Float[Array, "B T"]:
    """Returns the norms of a layer's states over the median norm of their text; 0 for padding."""
    real = segment_ids > 0
    lengths = jnp.linalg.norm(states.astype(jnp.float32), axis=-1)
    median = jnp.nanmedian(jnp.where(real, lengths, jnp.nan), axis=-1, keepdims=True)
    return jnp.where(real, lengths / jnp.maximum(median, jnp.finfo(jnp.float32).tiny), 0.0)


def find_sinks(base: Float[Array, "B T"], tuned: Float[Array, "B T"]) -> Bool[Array, "B T"]:
    """Returns the tokens that are a sink of either model in a layer, from both models' `relative_lengths`.

    A token that is left out of one model's mean is thus left out of the other's too.
    """
    return jnp.maximum(base, tuned) > SINK_RATIO


def without_sinks(
    masks: dict[str, Float[Array, "B T"]], sinks: Bool[Array, "B T"]
) -> dict[str, Float[Array, "B T"]]:
    """Returns the poolings `reply_no_sinks` and `all_no_sinks`; a row that would have no token left keeps all."""
    return {f"{name}_no_sinks": _leave_out(masks[name], sinks) for name in ("reply", "all")}


def _leave_out(mask: Float[Array, "B T"], sinks: Bool[Array, "B T"]) -> Float[Array, "B T"]:
    left = jnp.where(sinks, 0.0, mask)
    return jnp.where(left.any(1, keepdims=True), left, mask)


def pool(hidden: Float[Array, "Z B T D"], mask: Float[Array, "B T"]) -> Float[Array, "B Z D"]:
    """Returns the mean of the states where `mask` is 1, in float32; 0 for a row without such positions."""
    total = jnp.einsum(
        "ZBTD,BT->BZD",
        hidden,
        mask.astype(hidden.dtype),
        precision="highest",  # A TPU would otherwise round float32 states to bfloat16.
        preferred_element_type=jnp.float32,
    )
    return total / jnp.maximum(mask.sum(1), 1)[:, None, None]


def cosine_distances(
    base: Float[Array, "Z B T D"], tuned: Float[Array, "Z B T D"], mask: Float[Array, "B T"]
) -> Float[Array, "B Z"]:
    """Returns the mean over masked tokens of 1 - cosine of the two models' states, layer by layer.

    It is computed as |u - v|^2 / 2 of unit vectors, which is exactly 0 for equal states.
    """

    def one_layer(pair):
        u, v = (_unit(part.astype(jnp.float32)) for part in pair)
        distance = jnp.square(u - v).sum(-1) / 2
        return (distance * mask).sum(1) / jnp.maximum(mask.sum(1), 1)

    return jax.lax.map(one_layer, (base, tuned)).T


def _unit(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)


def cosine_distance(measured: TextMeasurements) -> Prepared:
    """`layer_distance` is the mean over layers, `final_distance` that of the last layer; details by layer."""
    distances = measured.cosine_distance
    assert distances is not None  # `cosine` requires it.

    def statistic(texts):
        by_layer = distances[texts].mean(0)
        return {"layer_distance": float(by_layer.mean()), "final_distance": float(by_layer[-1])}

    return Prepared(statistic, {"by_layer": distances.mean(0).astype(np.float64).tolist()})


# `extract_states` has a parameter `pool`, named as in the recipe.
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
    """Returns Hugging Face's `hidden_states` of every text: embeddings, then each block's output, the last after the
    norm.

    It is meant to be called under jit (`model`, `pool` and `layers` are static), also on parameters and rows that lie
    on a mesh. Layers are reduced one after the other: only with `pool="none"` do the states of several layers exist at
    once.

    Args:
      params: the model's parameters, as `open_model` returns them.
      batch: rows of texts; positions with `segment_ids` 0 are padding.
      pool: mean over `reply` tokens, mean over `all` tokens but padding, the `last` token, or `none`.
      model: static description.
      layers: which of 0 (embeddings) to L; None for all.

    Returns:
      float32 [B, Z, D], Z layers; for `none` [B, Z, T, D] in the dtype of the activations. A text without a token to
      pool gets zeros.

    Raises:
      UserError: unknown pool or layer.
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
    return pooled.swapaxes(0, 1)[:, jnp.array(tuple(layers), int)]
