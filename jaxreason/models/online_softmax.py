"""Softmax over keys that come block by block (online softmax: Milakov and Gimelshein, arXiv 1805.02867).

Used with M rows of queries for each key/value head: `q [B,K,M,H]` against blocks `k, v [B,K,S,H]`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

LOWEST = float(jnp.finfo(jnp.float32).min)  # score of a key that is not seen


class OnlineSoftmax(NamedTuple):
    """Of the blocks so far: largest score, sum of exp(score - largest), and values weighted by the same."""

    maximum: Float[Array, "B K M"]
    total: Float[Array, "B K M"]
    values: Float[Array, "B K M H"]


def no_blocks(shape: tuple[int, ...]) -> OnlineSoftmax:
    """Before the first block, for queries of `shape` [B, K, M, H]."""
    rows = shape[:-1]
    return OnlineSoftmax(jnp.full(rows, LOWEST), jnp.zeros(rows), jnp.zeros(shape))


def add_block(
    carry: OnlineSoftmax, scores: Float[Array, "B K M S"], v: Float[Array, "B K S H"]
) -> OnlineSoftmax:
    """With one more block. A row all of whose scores are LOWEST so far has finite values, wiped by the first other."""
    maximum = jnp.maximum(carry.maximum, scores.max(-1))
    old, weights = jnp.exp(carry.maximum - maximum), jnp.exp(scores - maximum[..., None])
    values = jnp.einsum(
        "BKMS,BKSH->BKMH", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
    )
    return OnlineSoftmax(
        maximum, carry.total * old + weights.sum(-1), carry.values * old[..., None] + values
    )
