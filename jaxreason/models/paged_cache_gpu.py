"""The paged cache on GPUs: attention over pages as one kernel (Pallas, Triton) on the reference's own pool.

A program takes the queries of one key/value head of a row and reads its pages one after another, as far as the row is
long; a long row's pages are split over several programs when there are few rows (Flash-Decoding, Dao et al. 2023).
Off GPUs it is interpreted (slow). An H200 reads 4.2 TB/s with it (`docs/performance.md`).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

from jaxreason.models.attention_mask import AttentionMask
from jaxreason.models.blockwise import LOWEST, lengthen
from jaxreason.models.paged_cache import PagedCache, has_place, on_devices
from jaxreason.sharding import platform

FEWEST_QUERIES, MOST_QUERIES = 16, 64  # of a program; a query is one of a token's heads
PROGRAMS = 512  # that keep a GPU busy
MOST_SPLITS = 32  # of a row's pages


class PagedCacheGPU(PagedCache):
    """A `PagedCache` that the kernel reads, if it takes pages of this size; else XLA does."""

    def attend_unscaled(
        self, layer: Int[Array, ""], mask: AttentionMask, q: Float[Array, "B T N H"]
    ) -> Float[Array, "B T N H"]:
        """`attend` by the kernel; padding gets 0."""
        if not gpu_kernel_serves(self.page_size, q.shape[3]):
            return super().attend_unscaled(layer, mask, q)
        args = (self.pages, self.tables, mask.query_positions, q, layer)
        return on_devices(functools.partial(_attend, mask.window), self, 3)(*args)


def gpu_kernel_serves(page_size: int, head_dim: int) -> bool:
    """Whether the kernel takes pages of this size: tensor cores want powers of two, 16 at least."""
    return all(n >= 16 and n & (n - 1) == 0 for n in (page_size, head_dim))


def _attend(
    window: int | None, pages: Array, tables: Array, positions: Array, q: Array, layer: Any
) -> Array:
    batch, number = len(q), pages.shape[1]
    heads, size, head_dim = pages.shape[2] // 2, pages.shape[3], q.shape[3]
    rows, at = _rows(q, heads), jnp.where(has_place(tables, positions, size), positions, -1)
    at = jnp.repeat(at, q.shape[2] // heads, axis=1)
    block = min(max(pl.next_power_of_2(at.shape[1]), FEWEST_QUERIES), MOST_QUERIES)
    pad = -at.shape[1] % block
    rows, at = jnp.pad(rows, ((0, 0), (0, 0), (0, pad), (0, 0))), lengthen(at, pad, -1)
    pool = pages.reshape(-1, 2, size, head_dim)
    parts = _run(window, rows, at, tables + layer * number, pool, block)
    out = _joined(*parts)[:, :, : rows.shape[2] - pad].astype(q.dtype)
    out = out.reshape(batch, heads, q.shape[1], -1, head_dim)
    return jnp.einsum("BKTGH->BTKGH", out).reshape(q.shape)


def _rows(q: Float[Array, "B T N H"], heads: int) -> Float[Array, "B K M H"]:
    """The queries of each key/value head, token by token, so that those of a program are close: M = T·G."""
    groups = q.reshape(*q.shape[:2], heads, -1, q.shape[3])
    return jnp.einsum("BTKGH->BKTGH", groups).reshape(len(q), heads, -1, q.shape[3])


def _run(
    window: int | None, rows: Array, at: Array, tables: Array, pool: Array, block: int
) -> tuple[Array, Array, Array]:
    """Results of each split of a row's pages: weighted values, the largest score and the sum of weights."""
    batch, heads, queries, head_dim = rows.shape
    blocks = queries // block
    # With few rows there are too few programs to fill a GPU: the pages of a row are then shared by several.
    splits = PROGRAMS // (batch * heads * blocks)
    splits = max(min(splits, MOST_SPLITS, tables.shape[1]), 1)
    found = jax.ShapeDtypeStruct((splits, batch, heads, queries), jnp.float32)
    one = pl.BlockSpec((None, None, None, block), lambda b, h, i: (i % splits, b, h, i // splits))
    return pl.pallas_call(
        functools.partial(_kernel, window, heads, splits),
        grid=(batch, heads, blocks * splits),
        in_specs=[
            pl.BlockSpec((None, None, block, head_dim), lambda b, h, i: (b, h, i // splits, 0)),
            pl.BlockSpec((None, block), lambda b, h, i: (b, i // splits)),
            pl.BlockSpec((None, tables.shape[1]), lambda b, h, i: (b, 0)),
            pl.BlockSpec(pool.shape, lambda b, h, i: (0, 0, 0, 0)),
        ],
        out_specs=[
            pl.BlockSpec(
                (None, None, None, block, head_dim),
                lambda b, h, i: (i % splits, b, h, i // splits, 0),
            ),
            one,
            one,
        ],
        out_shape=[jax.ShapeDtypeStruct((*found.shape, head_dim), jnp.float32), found, found],
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
        interpret=platform() != "gpu",
        name="attention_over_pages",
    )(rows, at, tables, pool)


def _kernel(
    window: int | None,
    heads: int,
    splits: int,
    q_ref: Any,
    at_ref: Any,
    tables_ref: Any,
    pool_ref: Any,
    values_ref: Any,
    maximum_ref: Any,
    total_ref: Any,
) -> None:
    # Each program has the queries of one key/value head of one row, and a share of the row's pages. It finds its
    # pages in the table itself, so nothing is gathered before the kernel runs.
    head, split = pl.program_id(1), pl.program_id(2) % splits
    q, at = q_ref[...], at_ref[...]
    size = pool_ref.shape[2]
    first, last = _pages(at, size, window)
    share = (last - first + splits - 1) // splits
    begin = first + split * share

    def body(i: Array, carry: tuple) -> tuple:
        column = begin + i
        page = tables_ref[column] * heads + head
        keys = column * size + jnp.arange(size)
        return _add_page(carry, q, pool_ref[page, 0], pool_ref[page, 1], _seen(at, keys, window))

    rows = at.shape
    empty = jnp.zeros(q.shape, jnp.float32), jnp.full(rows, LOWEST), jnp.zeros(rows, jnp.float32)
    count = jnp.minimum(share, last - begin)
    values_ref[...], maximum_ref[...], total_ref[...] = jax.lax.fori_loop(0, count, body, empty)


def _pages(at: Array, size: int, window: int | None) -> tuple[Array, Array]:
    """The first and last (exclusive) columns of the table that queries at `at` see."""
    last = (jnp.max(at) + size) // size  # 0 where all are padding
    if window is None:
        return jnp.zeros_like(last), last
    farthest = jnp.min(jnp.where(at >= 0, at, jnp.max(at)))
    return jnp.maximum(farthest - window + 1, 0) // size, last


def _seen(at: Array, keys: Array, window: int | None) -> Array:
    distance = at[:, None] - keys[None, :]
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def _add_page(carry: tuple, q: Array, k: Array, v: Array, seen: Array) -> tuple:
    """One step of the online softmax of `blockwise`, with two dims as Triton needs it."""
    values, maximum, total = carry
    scores = _product(q, k.astype(q.dtype), 1) * q.shape[1] ** -0.5
    scores = jnp.where(seen, scores, LOWEST)
    highest = jnp.maximum(maximum, jnp.max(scores, axis=1))
    old = jnp.exp(maximum - highest)
    # Masked again: where a row has seen nothing yet, score and maximum are both LOWEST, and exp(0) would count as 1.
    weights = jnp.where(seen, jnp.exp(scores - highest[:, None]), 0.0)
    new = _product(weights.astype(q.dtype), v.astype(q.dtype), 0)
    return values * old[:, None] + new, highest, total * old + jnp.sum(weights, axis=1)


def _product(a: Array, b: Array, dim: int) -> Array:
    """Product over the last dim of `a` and `dim` of `b`, summed in float32."""
    dims = ((1,), (dim,)), ((), ())
    return jax.lax.dot_general(a, b, dims, preferred_element_type=jnp.float32)


def _joined(
    values: Float[Array, "S B K M H"],
    maximum: Float[Array, "S B K M"],
    total: Float[Array, "S B K M"],
) -> Float[Array, "B K M H"]:
    weights = jnp.exp(maximum - jnp.max(maximum, axis=0))
    whole = jnp.sum(total * weights, axis=0)
    out = jnp.sum(values * weights[..., None], axis=0)
    return out / jnp.where(whole == 0, 1.0, whole)[..., None]
