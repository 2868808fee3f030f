"""Attention backends with one signature, and the one rule of who sees whom.

`q [B,T,N,H]` against `k, v [B,S,K,H]` with N = K·G: head n reads key/value head n // G, and keys and values
are never repeated. Every backend takes a `Visibility` and must give the same numbers (tests run them all).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

QUERY_BLOCK = 128  # queries that `blockwise` handles at a time: scores are [B, N, QUERY_BLOCK, S]


class Visibility(NamedTuple):
    """Who sees whom: `mask` is the rule, written out; the rest is what it is made of (unused parts cost nothing)."""

    mask: Bool[Array, "B T S"]
    query_positions: Int[Array, "B T"]
    key_positions: Int[Array, "B S"]


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
    return Visibility(mask, query_positions, key_positions)


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
    if q.shape[1] == 1:
        return jax.lax.platform_dependent(
            q, k, v, mask, cpu=_attend_one_query, default=_attend_by_products
        )
    return _attend_by_products(q, k, v, mask)


def _attend_by_products(q: Array, k: Array, v: Array, mask: Array) -> Array:
    batch, length, _, head_dim = q.shape
    groups = q.reshape(batch, length, k.shape[2], -1, head_dim)
    scores = jnp.einsum("BTKGH,BSKH->BKGTS", groups, k, preferred_element_type=jnp.float32)
    weights = _softmax(scores * head_dim**-0.5, mask[:, None, None], dim=-1).astype(v.dtype)
    return jnp.einsum("BKGTS,BSKH->BTKGH", weights, v).reshape(q.shape)


def _attend_one_query(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Decoding on CPU: a fused multiply and sum reads the cache where it lies; a product would copy it first."""
    groups = q.reshape(q.shape[0], 1, k.shape[2], -1, q.shape[3]).astype(jnp.float32)
    scores = jnp.sum(groups * k[:, :, :, None], axis=-1) * q.shape[3] ** -0.5  # B S K G
    weights = _softmax(scores, mask[:, 0, :, None, None], dim=1)
    out = jnp.sum(weights[..., None] * v[:, :, :, None], axis=1)
    return out.astype(q.dtype).reshape(q.shape)


def _softmax(scores: Array, mask: Array, dim: int) -> Array:
    return jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(jnp.float32).min), axis=dim)


ATTENTION: dict[str, Callable[[Array, Array, Array, Visibility], Array]] = {
    "plain": plain,
    "blockwise": blockwise,
}
