"""Rows cut into blocks of tokens and joined again, and a softmax over keys that come block by block.

Everything that makes rows longer does it here, with zeros, and puts other values in their place afterwards. Where the
length is split over devices, the partitioner of jaxlib 0.10.2 gives all paddings of an array that reach equally far the
value of the first of them: `jnp.pad` with two values in one program gives one of them twice.

The softmax is the online one (Milakov and Gimelshein, arXiv 1805.02867), with M rows of queries for each key/value
head: `q [B,K,M,H]` against blocks `k, v [B,K,S,H]`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from jaxreason.sharding import platform

LOWEST = float(jnp.finfo(jnp.float32).min)  # score of a key that is not seen


def cut_blocks(
    size: int, x: Shaped[Array, "B T ..."], value: int | Shaped[Array, "B 1 ..."] = 0
) -> Shaped[Array, "n B L ..."]:
    """Cuts [B, T, ...] into [n, B, L, ...] with L = size; `value` fills the places of the last block past T."""
    x = lengthen(x, -x.shape[1] % size, value)
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def lengthen(
    x: Shaped[Array, "B T ..."], pad: int, value: int | Shaped[Array, "B 1 ..."] = 0
) -> Shaped[Array, "B U ..."]:
    """Rows with `pad` more tokens at their end, filled with `value`."""
    if not pad:
        return x
    longer = jnp.pad(x, [(0, 0), (0, pad)] + [(0, 0)] * (x.ndim - 2))
    if isinstance(value, int) and value == 0:
        return longer
    is_filling = jnp.arange(longer.shape[1]) >= x.shape[1]
    return jnp.where(is_filling.reshape(1, -1, *[1] * (x.ndim - 2)), value, longer)


def join_blocks(x: Shaped[Array, "n B L ..."], length: int) -> Shaped[Array, "B T ..."]:
    """Undoes `cut_blocks`: [n, B, L, ...] to [B, T, ...] with T = length."""
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])[:, :length]


class OnlineSoftmax(NamedTuple):
    """Running state over the blocks so far: largest score, sum of exp(score - largest), values weighted by it."""

    maximum: Float[Array, "B K M"]
    total: Float[Array, "B K M"]
    values: Float[Array, "B K M H"]


def no_blocks(shape: tuple[int, ...]) -> OnlineSoftmax:
    """The state before the first block, for queries of `shape` [B, K, M, H]."""
    rows = shape[:-1]
    return OnlineSoftmax(jnp.full(rows, LOWEST), jnp.zeros(rows), jnp.zeros(shape))


def add_block(
    carry: OnlineSoftmax, scores: Float[Array, "B K M S"], v: Float[Array, "B K S H"]
) -> OnlineSoftmax:
    """The state after one more block.

    A row whose scores are all LOWEST so far has finite values; its first real score wipes them.
    """
    # What was summed so far is relative to the old maximum: rescale it to the new one. The exponents are never
    # positive, so nothing overflows, whatever the scores are.
    maximum = jnp.maximum(carry.maximum, scores.max(-1))
    old, weights = jnp.exp(carry.maximum - maximum), jnp.exp(scores - maximum[..., None])
    values = jnp.einsum(
        "BKMS,BKSH->BKMH", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
    )
    return OnlineSoftmax(
        maximum, carry.total * old + weights.sum(-1), carry.values * old[..., None] + values
    )


def head_rows(q: Float[Array, "B T N H"], heads: int) -> Float[Array, "B K M H"]:
    """The queries of each of the K key/value heads as rows, M = G·T."""
    groups = q.reshape(*q.shape[:2], heads, -1, q.shape[3])
    return jnp.einsum("BTKGH->BKGTH", groups).reshape(len(q), heads, -1, q.shape[3])


def add_keys(
    carry: OnlineSoftmax,
    rows: Float[Array, "B K M H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    seen: Bool[Array, "B T S"],
) -> OnlineSoftmax:
    """The state after one more block of keys, masked for each query; `rows` are `head_rows` of the queries."""
    scores = _scores(rows, k)
    shape = (*rows.shape[:2], -1, *seen.shape[1:])
    scores = scores.reshape(shape) * rows.shape[3] ** -0.5
    scores = jnp.where(seen[:, None, None], scores, LOWEST)
    return add_block(carry, scores.reshape(*rows.shape[:3], -1), v)


def _scores(rows: Float[Array, "B K M H"], k: Float[Array, "B K S H"]) -> Float[Array, "B K M S"]:
    if platform() != "cpu" or rows.shape[2] >= k.shape[2]:
        return jnp.einsum("BKMH,BKSH->BKMS", rows, k, preferred_element_type=jnp.float32)
    # XLA's CPU compiler transposes the second operand. That takes longer than the product where it is the keys of few
    # queries. Unless something stands between the product and its transposition, it makes them one product again.
    scores = jnp.einsum("BKSH,BKMH->BKSM", k, rows, preferred_element_type=jnp.float32)
    return jax.lax.optimization_barrier(scores).mT


def attended(found: OnlineSoftmax, q: Float[Array, "B T N H"]) -> Float[Array, "B T N H"]:
    """The result of attention for the queries whose `head_rows` met the blocks; 0 where there was no block."""
    total = jnp.where(found.total == 0, 1.0, found.total)
    out = (found.values / total[..., None]).astype(q.dtype)
    out = out.reshape(*out.shape[:2], -1, q.shape[1], q.shape[3])
    return jnp.einsum("BKGTH->BTKGH", out).reshape(q.shape)
