"""Fused causal attention over packed rows for GPUs (Pallas, Triton), which skips the blocks of other segments.

FlashAttention-2 (Dao 2023, arXiv 2307.08691): an online softmax forward; backward, the weights are made again from the
log-sum-exp that was kept, once for the gradients of keys and values and once for those of queries. The kernels are in
`packed_attention_kernels`. Off GPUs they are interpreted (slow).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

from jaxreason.models.packed_attention_kernels import (
    Tile,
    attend,
    key_gradients,
    query_gradients,
)
from jaxreason.models.remat import ATTENDED
from jaxreason.sharding import platform

BLOCK = 128  # rows are a multiple of it, and it is one of the sides of every tile
FEWEST = 16  # features that tensor cores take


class Tiles(NamedTuple):
    """Of the forward kernel, of that for the gradients of keys and values, and of that for those of queries."""

    forward: Tile
    keys: Tile
    queries: Tile


LARGE = Tiles(Tile(128, 64, 8, 3), Tile(64, 128, 8, 2), Tile(128, 64, 8, 2))
SMALL = Tiles(*[Tile(32, 32, 4, 2)] * 3)  # float32 and wide heads: a GPU's cores hold little


def packed_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segments: Int[Array, "B T"],
    tiles: Tiles | None = None,
) -> Float[Array, "B T N H"]:
    """Causal attention within each run of equal `segments`; T is a multiple of `BLOCK`.

    Tokens of segment 0 or less are padding: each sees only itself, so padding costs next to nothing. Query head n reads
    key/value head n // (N // K), which is not repeated.
    """
    head_dim = q.shape[3]
    features = max(pl.next_power_of_2(head_dim), FEWEST)
    if tiles is None:
        tiles = LARGE if q.dtype != jnp.float32 and features <= 128 else SMALL
    if features > head_dim:
        q, k, v = (jnp.pad(x, [(0, 0)] * 3 + [(0, features - head_dim)]) for x in (q, k, v))
    first = run_starts(segments)
    last = q.shape[1] - run_starts(segments[:, ::-1])[:, ::-1]
    return _attend(head_dim**-0.5, tiles, q, k, v, first, last)[..., :head_dim]


def run_starts(ids: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """The place in its row where each token's run of equal ids begins; T is a multiple of `BLOCK`.

    Each id of 0 or less is a run of its own.
    """
    changes = jnp.concatenate([ids[:, :1] < ids[:, :1], ids[:, 1:] != ids[:, :-1]], axis=1)
    begins = changes | (ids <= 0)
    places = jnp.where(begins, jnp.arange(ids.shape[1]), 0)
    # The largest so far: in its block, then of the blocks before. XLA makes tens of kernels of a cumulative maximum.
    blocks = places.reshape(len(ids), -1, BLOCK)
    before = _largest_so_far(blocks.max(2), 1)
    return jnp.maximum(_largest_so_far(blocks, 0), before[:, :, None]).reshape(ids.shape)


def _largest_so_far(x: Int[Array, "... n"], back: int) -> Int[Array, "... n"]:
    """The largest of the numbers at least `back` places before each; 0 where there are none."""
    index = jnp.arange(x.shape[-1])
    seen = index[:, None] >= index + back
    return jnp.max(jnp.where(seen, x[..., None, :], 0), axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(scale: float, tiles: Tiles, q: Array, k: Array, v: Array, first: Array, last: Array):
    return _forward(scale, tiles, q, k, v, first, last)[0]


def _forward(scale, tiles, q, k, v, first, last):
    block, row, places, line = _query_specs(tiles.forward, q, k)
    normalizer = jax.ShapeDtypeStruct((len(q), q.shape[2], q.shape[1]), jnp.float32)
    run = _kernel(attend, scale, tiles.forward, q.shape[2])
    kept = run((q, k, v, first), [block, row, row, places], (q, normalizer), [block, line])
    # Named, so that a policy of jax.checkpoint can keep both: the kernel then runs once.
    out, normalizer = (checkpoint_name(x, ATTENDED) for x in kept)
    return out, (q, k, v, first, last, out, normalizer)


def _backward(scale, tiles, kept, d):
    q, k, v, first, last, out, normalizer = kept
    mean = jnp.einsum("BTNH,BTNH->BNT", *(x.astype(jnp.float32) for x in (out, d)))
    given = d, normalizer, mean
    block, row, places, line = _query_specs(tiles.queries, q, k)
    run = _kernel(query_gradients, scale, tiles.queries, q.shape[2])
    specs = [block, row, row, places, block, line, line]
    (dq,) = run((q, k, v, first, *given), specs, (q,), [block])
    block, row, places, line = _key_specs(tiles.keys, q, k)
    run = _kernel(key_gradients, scale, tiles.keys, k.shape[2])
    specs = [row, block, block, places, row, line, line]
    dk, dv = run((q, k, v, last, *given), specs, (k, v), [block, block])
    return dq, dk, dv, None, None


_attend.defvjp(_forward, _backward)


def _kernel(body: Callable, scale: float, tile: Tile, heads: int) -> Callable:
    """Runs `body` for each block of each head of each row."""

    def run(args: tuple, in_specs: list, results: tuple, out_specs: list) -> tuple:
        blocks = args[0].shape[1] // out_specs[0].block_shape[1]
        return pl.pallas_call(
            functools.partial(body, scale, tile),
            grid=(blocks, heads, len(args[0])),
            in_specs=in_specs,
            out_specs=out_specs,
            out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in results],
            compiler_params=triton.CompilerParams(num_warps=tile.warps, num_stages=tile.stages),
            interpret=platform() != "gpu",
            name=f"packed_attention_{body.__name__}",
        )(*args)

    return run


def _query_specs(tile: Tile, q: Array, k: Array) -> tuple:
    """For programs with a block of queries: that, the row of its keys, places, and one number a query.

    The last block comes first: its loop may be the longest.
    """
    last, group = q.shape[1] // tile.queries - 1, q.shape[2] // k.shape[2]
    return (
        pl.BlockSpec((None, tile.queries, None, q.shape[3]), lambda i, n, b: (b, last - i, n, 0)),
        pl.BlockSpec((None, q.shape[1], None, q.shape[3]), lambda i, n, b: (b, 0, n // group, 0)),
        pl.BlockSpec((None, tile.queries), lambda i, n, b: (b, last - i)),
        pl.BlockSpec((None, None, tile.queries), lambda i, n, b: (b, n, last - i)),
    )


def _key_specs(tile: Tile, q: Array, k: Array) -> tuple:
    """For programs with a block of keys: that, the row of its queries, places, and one number a query."""
    length, group = q.shape[1], q.shape[2] // k.shape[2]
    return (
        pl.BlockSpec((None, tile.keys, None, q.shape[3]), lambda i, h, b: (b, i, h, 0)),
        pl.BlockSpec((None, length, group, q.shape[3]), lambda i, h, b: (b, 0, h, 0)),
        pl.BlockSpec((None, tile.keys), lambda i, h, b: (b, i)),
        pl.BlockSpec((None, group, length), lambda i, h, b: (b, h, 0)),
    )
