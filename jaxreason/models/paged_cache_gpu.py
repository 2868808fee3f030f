"""The paged cache on GPUs: attention over pages as one kernel (Pallas, Triton) on the reference's own pool.

A program takes the queries of one key/value head of a row and reads its pages one after another, as far as the row is
long; a long row's pages are split over several programs when there are few rows (Flash-Decoding, Dao et al. 2023).
Queries are read and results written where they lie, `[B, T, N, H]`; only splits have results to join. Off GPUs it is
interpreted (slow). What is known of its speed: `docs/performance.md`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

from jaxreason.models.attention_mask import AttentionMask
from jaxreason.models.blockwise import LOWEST
from jaxreason.models.paged_cache import PagedCache, has_place, heads_axis, on_devices
from jaxreason.sharding import axis_size, platform

# Of a program; a query is one of a token's heads. With 128 prefill took 1.1 to 1.3 times as long on an H200, and a
# program would have too little shared memory for large pages in float32.
FEWEST_QUERIES, MOST_QUERIES = 16, 64
PROGRAMS = 512  # that keep a GPU busy
MOST_SPLITS = 32  # of a row's pages


class PagedCacheGPU(PagedCache):
    """A `PagedCache` that the kernel reads, if it takes pages of this size; else XLA does."""

    def attend_unscaled(
        self, layer: Int[Array, ""], mask: AttentionMask, q: Float[Array, "B T N H"]
    ) -> Float[Array, "B T N H"]:
        """`attend` by the kernel; padding gets 0."""
        if not gpu_kernel_serves(self.page_size, q.shape[3]) or self._is_misread():
            return super().attend_unscaled(layer, mask, q)
        args = (self.pages, self.tables, mask.query_positions, q, layer)
        return on_devices(functools.partial(_attend, mask.window), self, 3)(*args)

    def _is_misread(self) -> bool:
        """Whether a device's part of the pool has too many numbers for the kernel's offsets."""
        mesh, parts = jax.sharding.get_abstract_mesh(), 1
        if not mesh.empty and mesh.size > 1:
            tensor = axis_size("act_kv_heads")
            split = heads_axis(self.pages.shape[self.CHANNELS], tensor) is not None
            parts = axis_size("act_batch") * (tensor if split else 1)
        return offsets_wrap(self.pages.size // parts, self.pages.dtype.itemsize)


def offsets_wrap(numbers: int, itemsize: int) -> bool:
    """Whether JAX's kernels would misread an array: up to 4 GiB they count numbers in 32 bits, one of them the sign."""
    return numbers > 2**31 and numbers * itemsize <= 2**32


def gpu_kernel_serves(page_size: int, head_dim: int) -> bool:
    """Whether the kernel takes pages of this size: tensor cores want powers of two, 16 at least."""
    return all(n >= 16 and n & (n - 1) == 0 for n in (page_size, head_dim))


class _Cut(NamedTuple):
    """How the work is cut into programs."""

    heads: int  # keys' and values'
    block: int  # queries of a program
    blocks: int  # programs that have the queries of a row and head
    splits: int  # programs that share a row's pages


def _attend(
    window: int | None, pages: Array, tables: Array, positions: Array, q: Array, layer: Any
) -> Array:
    number, channels, size, head_dim = pages.shape[1:]
    cut = _cut(q, channels // 2, tables.shape[1])
    at = jnp.where(has_place(tables, positions, size), positions, -1)
    first = jnp.reshape(layer * number, 1)  # page of the layer
    pool = pages.reshape(-1, 2, size, head_dim)
    found = _run(window, cut, q, at, tables, first, pool)
    return found[0] if cut.splits == 1 else _joined(*found).astype(q.dtype)


def _cut(q: Float[Array, "B T N H"], heads: int, columns: int) -> _Cut:
    queries = q.shape[1] * q.shape[2] // heads
    block = max(min(pl.next_power_of_2(queries), MOST_QUERIES), FEWEST_QUERIES)
    blocks = pl.cdiv(queries, block)
    # With few rows there are too few programs to fill a GPU: the pages of a row are then shared by several.
    splits = PROGRAMS // (len(q) * heads * blocks)
    return _Cut(heads, block, blocks, max(min(splits, MOST_SPLITS, columns), 1))


def _run(
    window: int | None, cut: _Cut, q: Array, at: Array, tables: Array, first: Array, pool: Array
) -> list[Array]:
    """The result `[B, T, N, H]`; or each split's weighted values, its largest scores and its sums of weights."""
    shapes = _out_shapes(cut.splits, q)
    return pl.pallas_call(
        functools.partial(_kernel, window, cut),
        grid=(len(q), cut.heads, cut.blocks * cut.splits),
        in_specs=[
            *(_row(x.shape[1:]) for x in (q, at, tables)),
            pl.BlockSpec(first.shape, lambda b, h, i: (0,)),
            pl.BlockSpec(pool.shape, lambda b, h, i: (0, 0, 0, 0)),
        ],
        out_specs=[_out_row(cut.splits, shape.shape) for shape in shapes],
        out_shape=shapes,
        # 64 queries are what 4 warps multiply at once.
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
        interpret=platform() != "gpu",
        name="attention_over_pages",
    )(q, at, tables, first, pool)


def _out_shapes(splits: int, q: Array) -> list[jax.ShapeDtypeStruct]:
    if splits == 1:
        return [jax.ShapeDtypeStruct(q.shape, q.dtype)]
    one = jax.ShapeDtypeStruct((splits, *q.shape[:3]), jnp.float32)
    return [jax.ShapeDtypeStruct((splits, *q.shape), jnp.float32), one, one]


def _row(shape: tuple[int, ...]) -> pl.BlockSpec:
    """All of a row: programs pick their queries from it by themselves, so it is not padded to whole blocks."""
    return pl.BlockSpec((None, *shape), lambda b, h, i: (b, *[0] * len(shape)))


def _out_row(splits: int, shape: tuple[int, ...]) -> pl.BlockSpec:
    """All of a row of the result, or of what a split found."""
    if splits == 1:
        return _row(shape[1:])
    rest = shape[2:]
    return pl.BlockSpec((None, None, *rest), lambda b, h, i: (i % splits, b, *[0] * len(rest)))


def _kernel(
    window: int | None,
    cut: _Cut,
    q_ref: Any,
    at_ref: Any,
    tables_ref: Any,
    first_ref: Any,
    pool_ref: Any,
    *out_refs: Any,
) -> None:
    # Each program has the queries of one key/value head of one row, and a share of the row's pages. It finds its
    # pages in the table itself, so nothing is gathered before the kernel runs.
    head, split = pl.program_id(1), pl.program_id(2) % cut.splits
    places, real = _queries(cut, *q_ref.shape[:2])
    q = triton.load(_at(q_ref, places), mask=real[:, None], other=0)
    at = triton.load(at_ref.at[places[0]], mask=real, other=-1)
    size, offset = pool_ref.shape[2], first_ref[0]
    first, last = _pages(at, size, window)
    share = (last - first + cut.splits - 1) // cut.splits
    begin = first + split * share

    def body(i: Array, carry: tuple) -> tuple:
        column = begin + i
        page = (offset + tables_ref[column]) * cut.heads + head
        keys = column * size + jnp.arange(size)
        return _add_page(carry, q, pool_ref[page, 0], pool_ref[page, 1], _seen(at, keys, window))

    rows = at.shape
    empty = jnp.zeros(q.shape, jnp.float32), jnp.full(rows, LOWEST), jnp.zeros(rows, jnp.float32)
    found = jax.lax.fori_loop(0, jnp.minimum(share, last - begin), body, empty)
    _write(out_refs, places, real, *found)


def _queries(cut: _Cut, tokens: int, heads: int) -> tuple[tuple[Array, Array], Array]:
    """Token and head of each query of a program, token by token so that they are close, and whether there is one."""
    index = pl.program_id(2) // cut.splits * cut.block + jnp.arange(cut.block)
    groups = heads // cut.heads
    token, head = jax.lax.div(index, groups), jax.lax.rem(index, groups)
    return (token, pl.program_id(1) * groups + head), token < tokens


def _at(ref: Any, places: tuple[Array, Array]) -> Any:
    """Vectors `[block, H]` of a row `[T, N, H]`, by token and head."""
    token, head = places
    return ref.at[token[:, None], head[:, None], jnp.arange(ref.shape[2])[None]]


def _write(
    out_refs: tuple, places: tuple, real: Array, values: Array, maximum: Array, total: Array
) -> None:
    """Writes the result, or what a split found: only for queries that exist."""
    if len(out_refs) == 1:
        values = _divided(values, total)
    else:
        for ref, value in zip(out_refs[1:], (maximum, total), strict=True):
            triton.store(ref.at[places], value, mask=real)
    triton.store(_at(out_refs[0], places), values.astype(out_refs[0].dtype), mask=real[:, None])


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
    values: Float[Array, "S B T N H"],
    maximum: Float[Array, "S B T N"],
    total: Float[Array, "S B T N"],
) -> Float[Array, "B T N H"]:
    weights = jnp.exp(maximum - jnp.max(maximum, axis=0))
    out = jnp.sum(values * weights[..., None], axis=0)
    return _divided(out, jnp.sum(total * weights, axis=0))


def _divided(values: Float[Array, "... H"], total: Float[Array, "..."]) -> Float[Array, "... H"]:
    """Values by the sum of their weights; 0 where nothing was seen."""
    return values / jnp.where(total == 0, 1.0, total)[..., None]
