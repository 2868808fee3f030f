"""What the programs of `packed_attention_gpu` do: tiles of queries and keys, in Pallas for Triton.

A query sees the keys from its segment's first place to its own. So a program's loop begins and ends with the segments
of its tokens, and tiles wholly inside one of them and below the diagonal need no mask. Scores are in powers of two.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array

from jaxreason.models.blockwise import LOWEST

LOG2E = math.log2(math.e)


class Tile(NamedTuple):
    """Queries and keys that one step of a kernel multiplies, the warps of a program, and its loads under way."""

    queries: int
    keys: int
    warps: int
    stages: int


def attend(
    scale: float,
    tile: Tile,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    first_ref: Any,
    out_ref: Any,
    normalizer_ref: Any,
) -> None:
    """A block of queries of one head: what it attends to, and log2 of the sum of its weights."""
    q, first, places = q_ref[...], first_ref[...], _places(_query_block(), tile.queries)

    def add(masked: bool, j: Array, carry: tuple) -> tuple:
        values, maximum, total = carry
        here = pl.ds(j * tile.keys, tile.keys)
        # Scaled before it is masked: were LOWEST scaled too, a fused multiply-subtract would leave its rounding error,
        # which is huge, in the exponent of a row that has seen nothing yet.
        scores = _product(q, k_ref[here, :], 1) * (scale * LOG2E)
        if masked:
            scores = jnp.where(_seen(first, places, _places(j, tile.keys)), scores, LOWEST)
        highest = jnp.maximum(maximum, jnp.max(scores, axis=1))
        old, weights = jnp.exp2(maximum - highest), jnp.exp2(scores - highest[:, None])
        new = _product(weights.astype(v_ref.dtype), v_ref[here, :], 0)
        return values * old[:, None] + new, highest, total * old + jnp.sum(weights, axis=1)

    rows = first.shape
    empty = jnp.zeros(q.shape, jnp.float32), jnp.full(rows, LOWEST), jnp.zeros(rows, jnp.float32)
    values, maximum, total = _loops(add, _keys_seen(tile, first_ref), empty)
    out_ref[...] = (values / total[:, None]).astype(out_ref.dtype)
    normalizer_ref[...] = maximum + jnp.log2(total)


def query_gradients(
    scale: float,
    tile: Tile,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    first_ref: Any,
    d_ref: Any,
    normalizer_ref: Any,
    mean_ref: Any,
    dq_ref: Any,
) -> None:
    """Of a block of queries of one head."""
    q, d, first, places = (
        q_ref[...],
        d_ref[...],
        first_ref[...],
        _places(_query_block(), tile.queries),
    )
    normalizer, mean = normalizer_ref[...][:, None], mean_ref[...][:, None]

    def add(masked: bool, j: Array, dq: Array) -> Array:
        here = pl.ds(j * tile.keys, tile.keys)
        k = k_ref[here, :]
        weights = jnp.exp2(_product(q, k, 1) * (scale * LOG2E) - normalizer)
        if masked:
            weights = jnp.where(_seen(first, places, _places(j, tile.keys)), weights, 0.0)
        d_scores = weights * (_product(d, v_ref[here, :], 1) - mean)
        return dq + _product(d_scores.astype(k.dtype), k, 0)

    dq = _loops(add, _keys_seen(tile, first_ref), jnp.zeros(q.shape, jnp.float32))
    dq_ref[...] = (dq * scale).astype(dq_ref.dtype)


def key_gradients(
    scale: float,
    tile: Tile,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    last_ref: Any,
    d_ref: Any,
    normalizer_ref: Any,
    mean_ref: Any,
    dk_ref: Any,
    dv_ref: Any,
) -> None:
    """Of a block of keys and values of one head, summed over the query heads that read it."""
    k, v, last, places = k_ref[...], v_ref[...], last_ref[...], _places(pl.program_id(0), tile.keys)

    def add(head: Array, masked: bool, i: Array, sums: tuple) -> tuple:
        # Keys come first in each product, so that no tile needs to be transposed in registers.
        here = pl.ds(i * tile.queries, tile.queries)
        q, d = q_ref[here, head, :], d_ref[here, head, :]
        scores = _product(k, q, 1) * (scale * LOG2E)
        weights = jnp.exp2(scores - normalizer_ref[head, here][None, :])
        if masked:
            queries = _places(i, tile.queries)[None, :]
            seen = (queries >= places[:, None]) & (queries < last[:, None])
            weights = jnp.where(seen, weights, 0.0)
        d_scores = weights * (_product(v, d, 1) - mean_ref[head, here][None, :])
        dk, dv = sums
        dk = dk + _product(d_scores.astype(q.dtype), q, 0)
        return dk, dv + _product(weights.astype(d.dtype), d, 0)

    bounds = _queries_that_see(tile, last_ref)

    def of_head(head: Array, sums: tuple) -> tuple:
        return _loops(functools.partial(add, head), bounds, sums)

    zeros = jnp.zeros(k.shape, jnp.float32)
    dk, dv = jax.lax.fori_loop(0, q_ref.shape[1], of_head, (zeros, zeros))
    dk_ref[...], dv_ref[...] = (dk * scale).astype(dk_ref.dtype), dv.astype(dv_ref.dtype)


def _query_block() -> Array:
    """Which block of queries a program has: the last ones, whose loops may be longest, start first."""
    return pl.num_programs(0) - 1 - pl.program_id(0)


def _places(block: Array, size: int) -> Array:
    return block * size + jnp.arange(size)


def _seen(first: Array, places: Array, keys: Array) -> Array:
    return (keys[None, :] >= first[:, None]) & (keys[None, :] <= places[:, None])


def _keys_seen(tile: Tile, first_ref: Any) -> tuple[Array, ...]:
    """Where the blocks of keys begin that a block of queries sees, those all of it sees, the diagonal, and the end."""
    start = _query_block() * tile.queries
    begin, diagonal = first_ref[0] // tile.keys, start // tile.keys
    whole = jnp.minimum(pl.cdiv(first_ref[tile.queries - 1], tile.keys), diagonal)
    return begin, whole, diagonal, pl.cdiv(start + tile.queries, tile.keys)


def _queries_that_see(tile: Tile, last_ref: Any) -> tuple[Array, ...]:
    """Where the blocks of queries begin that see a block of keys, those that see all of it, the others, and the end."""
    start = pl.program_id(0) * tile.keys
    begin, whole = start // tile.queries, pl.cdiv(start + tile.keys, tile.queries)
    others = jnp.maximum(last_ref[0] // tile.queries, whole)
    return begin, whole, others, pl.cdiv(last_ref[tile.keys - 1], tile.queries)


def _loops(add: Callable, bounds: tuple[Array, ...], carry: Any) -> Any:
    """Adds block after block between four bounds; those between the middle two are not masked."""
    for masked, low, high in zip((True, False, True), bounds[:-1], bounds[1:], strict=True):
        carry = jax.lax.fori_loop(low, high, functools.partial(add, masked), carry)
    return carry


def _product(a: Array, b: Array, dim: int) -> Array:
    """Product over the last dim of `a` and `dim` of `b`, summed in float32; never in TensorFloat-32."""
    dims = ((1,), (dim,)), ((), ())
    exact = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jax.lax.dot_general(a, b, dims, precision=exact, preferred_element_type=jnp.float32)
