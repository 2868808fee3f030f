"""Attention backends with one signature, and the one rule of who sees whom.

`q [B,T,N,H]` against `k, v [B,S,K,H]` with N = K·G: head n reads key/value head n // G, and keys and values
are never repeated. Every backend takes a `Visibility` and must give the same numbers (tests run them all).
`over_cache` is what decoding uses, whatever the backend: it reads one layer of a cache in the cache's own layout.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models.attention_blocks import attend_by_blocks
from jaxreason.models.attention_tpu import splash
from jaxreason.sharding import constrain, platform

QUERY_BLOCK = 128  # queries that `over_cache` handles at a time
CACHE_BLOCK = {
    "cpu": 64,
    "gpu": 256,
    "tpu": 512,
}  # cached positions read at a time; on CPU they stay in its caches
LOWEST = float(jnp.finfo(jnp.float32).min)


class Visibility(NamedTuple):
    """Who sees whom: `mask` is the rule, written out; the rest is what it is made of (unused parts cost nothing)."""

    mask: Bool[Array, "B T S"]
    query_positions: Int[Array, "B T"]
    key_positions: Int[Array, "B S"]
    segments: Int[Array, "B T"] | None  # of the queries
    window: int | None


def visibility(
    query_positions: Int[Array, "B T"],
    key_positions: Int[Array, "B S"],
    query_segments: Int[Array, "B T"] | None,
    key_segments: Int[Array, "B S"] | None,
    window: int | None,
) -> Visibility:
    """A query sees a key of its own segment at its own or an earlier position, fewer than `window` back."""
    distance = query_positions[:, :, None] - key_positions[:, None, :]
    mask = distance >= 0
    if window is not None:
        mask &= distance < window
    if query_segments is not None:
        mask &= query_segments[:, :, None] == key_segments[:, None, :]
    return Visibility(mask, query_positions, key_positions, query_segments, window)


def plain(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    where: Visibility,
) -> Float[Array, "B T N H"]:
    """The reference: all scores at once, softmax in float32. A query that sees nothing gets finite numbers."""
    return _attend(q, k, v, where.mask)


def blockwise(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    where: Visibility,
) -> Float[Array, "B T N H"]:
    """A block of queries against a block of keys at a time: memory linear in T; see `attention_blocks`."""
    return attend_by_blocks(
        q, k, v, where.query_positions, where.key_positions, where.segments, where.window
    )


def _blocks(x: Array) -> Array:
    """[B, T, ...] as [T / block, B, block, ...], T padded up to a multiple."""
    pad = -x.shape[1] % QUERY_BLOCK
    x = jnp.pad(x, [(0, 0), (0, pad)] + [(0, 0)] * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(x.shape[0], -1, QUERY_BLOCK, *x.shape[2:]), 1, 0)


def _attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
    batch, length, _, head_dim = q.shape
    groups = q.reshape(batch, length, k.shape[2], -1, head_dim)
    scores = jnp.einsum("BTKGH,BSKH->BKGTS", groups, k, preferred_element_type=jnp.float32)
    weights = _softmax(scores * head_dim**-0.5, mask[:, None, None]).astype(v.dtype)
    return jnp.einsum("BKGTS,BSKH->BTKGH", weights, v).reshape(q.shape)


def _softmax(scores: Array, mask: Array) -> Array:
    return jax.nn.softmax(jnp.where(mask, scores, LOWEST), axis=-1)


def over_cache(
    q: Float[Array, "B T N H"],
    k: Float[Array, "L B K S H"],
    v: Float[Array, "L B K S H"],
    layer: Int[Array, ""],
    where: Visibility,
) -> Float[Array, "B T N H"]:
    """Attention over one layer of a cache, block by block up to the last position that any query sees.

    The softmax is kept as a running maximum, sum and weighted values (online softmax: Milakov and Gimelshein,
    arXiv 1805.02867), so that a block is read once and nothing is as long as the cache. Queries outside the cache
    (padding) get finite numbers.
    """
    if q.shape[1] > QUERY_BLOCK:
        parts = (_blocks(q), _blocks(where.mask), _blocks(where.query_positions))
        out = jax.lax.map(lambda part: _over_blocks(part[0], k, v, layer, *part[1:]), parts)
        return jnp.moveaxis(out, 0, 1).reshape(q.shape[0], -1, *q.shape[2:])[:, : q.shape[1]]
    return _over_blocks(q, k, v, layer, where.mask, where.query_positions)


def _over_blocks(q: Array, k: Array, v: Array, layer, mask: Array, positions: Array) -> Array:
    batch, queries, _, head_dim = q.shape
    kv_heads, length = k.shape[2:4]
    size = min(CACHE_BLOCK.get(platform(), CACHE_BLOCK["tpu"]), length)
    groups = q.reshape(batch, queries, kv_heads, -1, head_dim)
    rows = jnp.einsum("BTKGH->BKGTH", groups).reshape(batch, kv_heads, -1, head_dim)  # M = G·T

    def take(part: Array, start: Array) -> Array:
        shape = (1, batch, kv_heads, size, head_dim)
        block = jax.lax.dynamic_slice(part, (layer, 0, 0, start, 0), shape)[0]
        return constrain(block, ("act_batch", "act_kv_heads", None, None))

    def body(index: Array, carry: _Softmax) -> _Softmax:
        start = jnp.minimum(index * size, length - size)  # the last block may begin earlier
        seen = jax.lax.dynamic_slice_in_dim(mask, start, size, axis=2)
        seen &= start + jnp.arange(size) >= index * size
        scores = jnp.einsum(
            "BKMH,BKSH->BKMS", rows, take(k, start), preferred_element_type=jnp.float32
        )
        scores = scores.reshape(batch, kv_heads, -1, queries, size) * head_dim**-0.5
        scores = jnp.where(seen[:, None, None], scores, LOWEST)
        return _add_block(carry, scores.reshape(*rows.shape[:3], size), take(v, start))

    empty = _Softmax(
        maximum=_by_heads(jnp.full(rows.shape[:3], LOWEST)),
        total=_by_heads(jnp.zeros(rows.shape[:3])),
        values=_by_heads(jnp.zeros(rows.shape)),
    )
    last = jnp.max(jnp.where(positions < length, positions, 0), initial=0)
    found = jax.lax.fori_loop(0, last // size + 1, body, empty)
    out = (found.values / found.total[..., None]).astype(q.dtype)
    out = out.reshape(batch, kv_heads, -1, queries, head_dim)
    return jnp.einsum("BKGTH->BTKGH", out).reshape(q.shape)


class _Softmax(NamedTuple):
    """Of the blocks so far: largest score, sum of exp(score - largest), and values weighted by the same."""

    maximum: Float[Array, "B K M"]
    total: Float[Array, "B K M"]
    values: Float[Array, "B K M H"]


def _add_block(carry: _Softmax, scores: Array, v: Array) -> _Softmax:
    maximum = jnp.maximum(carry.maximum, scores.max(-1))
    old, weights = jnp.exp(carry.maximum - maximum), jnp.exp(scores - maximum[..., None])
    values = jnp.einsum(
        "BKMS,BKSH->BKMH", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
    )
    return _Softmax(
        maximum, carry.total * old + weights.sum(-1), carry.values * old[..., None] + values
    )


def _by_heads(x: Array) -> Array:
    return constrain(x, ("act_batch", "act_kv_heads", *[None] * (x.ndim - 2)))


def fused_on_tpu(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    where: Visibility,
) -> Float[Array, "B T N H"]:
    """Splash attention: one kernel, no scores in memory; see `attention_tpu`."""
    return splash(q, k, v, where.segments, where.window)


ATTENTION: dict[str, Callable[[Array, Array, Array, Visibility], Array]] = {
    "plain": plain,
    "blockwise": blockwise,
    "splash": fused_on_tpu,
}
