"""Pooling and comparing hidden states on the device, so that [L+1, B, T, D] never leaves it.

Hidden states are Hugging Face's `hidden_states`: the embeddings, then every block's output, the
last one after the final norm.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxreason.analysis.measured import Measured, Prepared


def pooling_masks(
    segment_ids: Int[Array, "B T"], reply_mask: Float[Array, "B T"]
) -> dict[str, Float[Array, "B T"]]:
    """Which positions are averaged: `reply` tokens, `all` but padding, or the `last` token of the
    text.
    """
    real = segment_ids > 0
    last = real & ~jnp.pad(real[:, 1:], ((0, 0), (0, 1)))
    return {"reply": reply_mask, "all": real.astype(jnp.float32), "last": last.astype(jnp.float32)}


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


def cosine_distance(measured: Measured) -> Prepared:
    """`layer_distance`: mean over layers, `final_distance`: of the last; details by layer."""
    distances = measured.cosine_distance

    def statistic(texts):
        by_layer = distances[texts].mean(0)
        return {"layer_distance": float(by_layer.mean()), "final_distance": float(by_layer[-1])}

    return Prepared(statistic, {"by_layer": np.asarray(distances.mean(0), float).tolist()})
