"""Attention backends with one signature, and the one rule of who sees whom.

`q [B,T,N,H]` against `k, v [B,S,K,H]` with N = K·G: head n reads key/value head n // G, and keys and values
are never repeated. Every backend takes a `Visibility` and must give the same numbers (tests run them all).
`over_cache` is what decoding uses, whatever the backend: it reads one layer of a cache in the cache's own layout.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models.attention_tpu import splash
from jaxreason.sharding import constrain

QUERY_BLOCK = 128  # queries that `blockwise` handles at a time: scores are [B, N, QUERY_BLOCK, S]
SHORTEST_PREFIX = 64  # of a cache; see `cache_prefixes`


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
    """As `plain`, QUERY_BLOCK queries at a time, scores recomputed in the backward pass: memory linear in T."""
    length = q.shape[1]
    if length <= QUERY_BLOCK:
        return _attend(q, k, v, where.mask)
    attend = jax.checkpoint(lambda block: _attend(block[0], k, v, block[1]), prevent_cse=False)
    out = jax.lax.map(attend, (_blocks(q), _blocks(where.mask)))
    return jnp.moveaxis(out, 0, 1).reshape(q.shape[0], -1, *q.shape[2:])[:, :length]


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
    return jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(jnp.float32).min), axis=-1)


def over_cache(
    q: Float[Array, "B T N H"],
    k: Float[Array, "L B K S H"],
    v: Float[Array, "L B K S H"],
    layer: Int[Array, ""],
    where: Visibility,
) -> Float[Array, "B T N H"]:
    """Attention over one layer of a cache, of which a prefix is read that holds every position any query sees.

    Queries outside the cache (padding) get finite numbers.
    """
    prefixes = cache_prefixes(v.shape[3])
    inside = jnp.where(where.query_positions < prefixes[-1], where.query_positions, -1)
    branch = jnp.sum(jnp.max(inside) >= jnp.array(prefixes[:-1], jnp.int32), dtype=jnp.int32)

    def attend(length: int) -> Array:
        keys = jax.lax.dynamic_slice(k, (layer, 0, 0, 0, 0), (1, *k.shape[1:3], length, k.shape[4]))
        values = jax.lax.dynamic_slice(
            v, (layer, 0, 0, 0, 0), (1, *v.shape[1:3], length, v.shape[4])
        )
        whole_rows = ("act_batch", "act_kv_heads", None, None)
        keys, values = constrain(keys[0], whole_rows), constrain(values[0], whole_rows)
        return _over_rows(q, keys, values, where.mask[:, :, :length])

    return jax.lax.switch(branch, [functools.partial(attend, length) for length in prefixes])


def cache_prefixes(length: int) -> tuple[int, ...]:
    """How much of a cache may be read: all of it, a half, a quarter or an eighth, but not less than 64."""
    halves = [length]
    while len(halves) < 4 and halves[0] >= 2 * SHORTEST_PREFIX:
        halves.insert(0, -(-halves[0] // 2))
    return tuple(halves)


def _over_rows(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """As `_attend`, at most QUERY_BLOCK queries at a time, for k and v [B,K,S,H]."""
    batch, length, num_heads, head_dim = q.shape
    if length > QUERY_BLOCK:
        out = jax.lax.map(
            lambda block: _over_rows(block[0], k, v, block[1]), (_blocks(q), _blocks(mask))
        )
        return jnp.moveaxis(out, 0, 1).reshape(batch, -1, num_heads, head_dim)[:, :length]
    num_kv_heads, keys = k.shape[1], k.shape[2]
    groups = jnp.einsum("BTKGH->BKGTH", q.reshape(batch, length, num_kv_heads, -1, head_dim))
    rows = groups.reshape(
        batch, num_kv_heads, -1, head_dim
    )  # M = G·T: one plain product for each kv head
    scores = jnp.einsum("BKMH,BKSH->BKMS", rows, k, preferred_element_type=jnp.float32)
    scores = scores.reshape(*groups.shape[:4], keys) * head_dim**-0.5
    weights = _softmax(scores, mask[:, None, None]).astype(v.dtype).reshape(*rows.shape[:3], keys)
    out = jnp.einsum("BKMS,BKSH->BKMH", weights, v).reshape(groups.shape)
    return jnp.einsum("BKGTH->BTKGH", out).reshape(q.shape)


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
