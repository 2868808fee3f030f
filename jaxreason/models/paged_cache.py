"""The paged key/value cache (vLLM, arXiv 2309.06180): sequences hold pages of one pool and may share them.

The XLA path here is the reference and runs anywhere. It handles rows with a similar number of pages together, so that a
step does not read every row as far as the longest one.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Num

from jaxreason.models.attention_mask import AttentionMask, attention_mask
from jaxreason.models.blockwise import (
    OnlineSoftmax,
    add_keys,
    attended,
    cut_blocks,
    head_rows,
    join_blocks,
    no_blocks,
)
from jaxreason.models.quantization import attend_scaled, from_kept, stored
from jaxreason.sharding import RULES, axis_size, constrain, platform, spec

QUERY_BLOCK = 128  # queries of a row that are handled at a time
CPU_BLOCK_BYTES = 1 << 20  # keys and values read at a time on CPU: they stay in its caches


class PagedCache(NamedTuple):
    """Keys (rotated) and values: position p of row b is at place p % S of page tables[b, p // S].

    The mesh axes that split rows split the pool too, and a row's pages are numbered within its own part of the pool.
    Page 0 of a part is never written: it stands in tables where there is no page. C = 2K: the keys of a head, then its
    values (with a dim for the two and one for the heads, a device with one head would have the compiler copy the pool).
    With `scales`, pages are int8; on CPU bfloat16 is kept as bits (both: `models/quantization.py`).
    """

    pages: Num[Array, "L N C S H"]
    tables: Int[Array, "B M"]
    scales: Float[Array, "L C H"] | None = None

    # The layout. A subclass for a kernel that wants another one says so here, and in `shape`, `axes`, `take_page` and
    # `put`; everything else stands once.
    CHANNELS, PLACES = 2, 3  # which dims of a pool C and S are

    @property
    def length(self) -> int:
        """M·S, the largest number of positions of a row."""
        return self.tables.shape[1] * self.page_size

    @property
    def page_size(self) -> int:
        """S, the number of positions of a page."""
        return self.pages.shape[self.PLACES]

    @staticmethod
    def shape(layers: int, number: int, channels: int, size: int, head_dim: int) -> tuple[int, ...]:
        """The shape of a pool."""
        return layers, number, channels, size, head_dim

    @staticmethod
    def axes(channels: int, tensor: int) -> tuple[str | None, ...]:
        """Logical names of a pool's dims."""
        return "layers", "act_batch", heads_axis(channels, tensor), None, None

    def write(
        self,
        layer: Int[Array, ""],
        positions: Int[Array, "B T"],
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K H"],
    ) -> "PagedCache":
        """The cache with the tokens written at `positions` of `layer`; positions without a page are dropped."""
        new = stored(combined(k, v), self.pages.dtype, self.scales, layer)
        return self._replace(pages=self.put(layer, positions, new))

    def attend(
        self, q: Float[Array, "B T N H"], layer: Int[Array, ""], mask: AttentionMask
    ) -> Float[Array, "B T N H"]:
        """Queries at `mask.query_positions` see their row's earlier positions and their own, all of them written.

        Queries outside the cache (padding) get finite numbers.
        """
        run = functools.partial(self.attend_unscaled, layer, mask)
        return attend_scaled(run, q, self.scales, layer)

    def put(
        self, layer: Int[Array, ""], positions: Int[Array, "B T"], new: Num[Array, "B T C H"]
    ) -> Num[Array, "L N C S H"]:
        """The pool with keys and values (already in the pool's dtype) put at `positions`."""
        write = by_parts(_write, (1, 0, 0, 0, None), 1)
        return write(self.pages, self.tables, positions, new, layer)

    @staticmethod
    def take_page(
        pages: Num[Array, "L N C S H"], layer: Any, page: Int[Array, " B"]
    ) -> tuple[Num[Array, "B K S H"], Num[Array, "B K S H"]]:
        """Keys and values `[B, K, S, H]` of one page of each row."""
        number, channels, size, head_dim = pages.shape[1:]
        if platform() == "cpu" and axis_size("act_kv_heads") == 1:
            # Taken apart by their numbers, keys and values are copied once, not once more to part them.
            pool = pages.reshape(-1, size, head_dim)
            keys = (layer * number + page[:, None]) * channels + jnp.arange(0, channels, 2)
            return pool[keys], pool[keys + 1]
        pool = pages.reshape(-1, channels, size, head_dim)
        block = _constrained(pool[layer * number + page])
        block = block.reshape(len(page), -1, 2, size, head_dim)
        return block[:, :, 0], block[:, :, 1]

    def attend_unscaled(
        self, layer: Int[Array, ""], mask: AttentionMask, q: Float[Array, "B T N H"]
    ) -> Float[Array, "B T N H"]:
        """`attend` without the scales of int8, in XLA: the reference for every layout."""
        function = functools.partial(_attend, mask.window, self.page_size, self.take_page)
        run = by_parts(function, (1, 0, 0, 0, None), 0)
        return run(self.pages, self.tables, mask.query_positions, q, layer)


def by_parts(function: Callable, split: tuple[int | None, ...], out: int) -> Callable:
    """Runs `function` on each part of the mesh that has rows of its own.

    Args:
      function: of arrays; other mesh axes than those of rows stay the compiler's business.
      split: the dim of each argument that goes over the rows' axes, or None.
      out: that of the result.
    """
    axes = RULES["act_batch"]
    if axis_size("act_batch") == 1:
        return function
    specs = tuple(
        PartitionSpec() if dim is None else PartitionSpec(*[None] * dim, axes) for dim in split
    )
    return jax.shard_map(
        function,
        in_specs=specs,
        out_specs=PartitionSpec(*[None] * out, axes),
        axis_names=set(axes),
        check_vma=False,
    )


def on_devices(function: Callable, cache: Any, out: int) -> Callable:
    """Runs `function` on each device's rows and heads, since the compiler cannot divide a kernel.

    Args:
      function: of pages, tables, positions `[B, T]`, what is written or asked there `[B, T, heads, H]`, and the layer.
      cache: whose pages and tables these are.
      out: which of the arguments the result lies like.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return function
    channels = cache.pages.shape[cache.CHANNELS]
    pages = cache.axes(channels, axis_size("act_kv_heads"))
    rows, tokens = ("act_batch",), ("act_batch", None, pages[cache.CHANNELS])
    specs = tuple(spec(names) for names in (pages, rows, rows, tokens, ()))
    return jax.shard_map(function, in_specs=specs, out_specs=specs[out], check_vma=False)


def heads_axis(channels: int, tensor: int) -> str | None:
    """Logical name of the dim C: it is split over `tensor` devices if that leaves heads whole."""
    return "act_kv_heads" if channels // 2 % tensor == 0 else None


def combined(k: Float[Array, "B T K H"], v: Float[Array, "B T K H"]) -> Float[Array, "B T C H"]:
    """The keys of a head, then its values, head by head."""
    return jnp.stack([k, v], axis=3).reshape(*k.shape[:2], -1, k.shape[3])


def has_place(
    tables: Int[Array, "B M"], positions: Int[Array, "B ..."], size: int
) -> Bool[Array, "B ..."]:
    """Whether a row has room for each position; the others are padding."""
    return (positions >= 0) & (positions < tables.shape[1] * size)


def place(
    tables: Int[Array, "B M"], positions: Int[Array, "B T"], size: int, number: int
) -> tuple[Int[Array, "B T"], Int[Array, "B T"]]:
    """The page and the place in it of each position; without a page, page `number`, which does not exist."""
    there = has_place(tables, positions, size)
    page = jnp.take_along_axis(tables, jnp.where(there, positions // size, 0), axis=1)
    return jnp.where(there & (page > 0), page, number), positions % size


def _write(pages: Array, tables: Array, positions: Array, new: Array, layer: Any) -> Array:
    page, offset = place(tables, positions, pages.shape[3], pages.shape[1])
    # constrained, or the partitioner may choose another layout inside a loop and copy
    return _constrained(pages.at[layer, page, :, offset].set(new, mode="drop"))


def _attend(
    window: int | None,
    size: int,
    take: Callable,
    pages: Array,
    tables: Array,
    positions: Array,
    q: Array,
    layer: Any,
) -> Array:
    take = functools.partial(_take_as, q.dtype, take, pages, layer)
    attend = functools.partial(_by_length, window, size, take, tables)
    if q.shape[1] <= QUERY_BLOCK:
        return attend(positions, q)
    parts = cut_blocks(QUERY_BLOCK, positions, -1), cut_blocks(QUERY_BLOCK, q)
    out = jax.lax.map(lambda part: attend(*part), parts)
    return join_blocks(out, q.shape[1])


def _take_as(dtype: Any, take: Callable, *args: Any) -> tuple[Array, Array]:
    k, v = take(*args)
    return from_kept(k, dtype), from_kept(v, dtype)


def _by_length(
    window: int | None, size: int, take: Callable, tables: Array, positions: Array, q: Array
) -> Array:
    """Attention by groups of rows, those with the most pages first; each group is read as far as its longest row."""
    # All rows of a group are read as far as the longest of them. Sorted by length, a group has rows of about the same
    # length, so few pages are read without use; the order is undone at the end.
    seen = jnp.where(has_place(tables, positions, size), positions, -1)
    counts = jnp.max(seen, axis=1) // size + 1
    order = jnp.argsort(-counts)
    together = _rows_together(take, q.shape[0])
    parts = (x[order].reshape(-1, together, *x.shape[1:]) for x in (q, tables, positions, counts))
    group = functools.partial(_group, window, size, take)
    out = jax.lax.map(lambda part: group(*part), tuple(parts))
    return out.reshape(q.shape)[jnp.argsort(order)]


def _rows_together(take: Callable, batch: int) -> int:
    """Rows of a group: all of them on an accelerator; on CPU as many as have pages that fit into its caches."""
    # Fewer rows at a time mean more turns of a loop, which cost an accelerator more than reading unused pages.
    if platform() != "cpu":
        return batch
    page = jax.eval_shape(take, jax.ShapeDtypeStruct((1,), jnp.int32))
    most = max(CPU_BLOCK_BYTES // sum(x.size * x.dtype.itemsize for x in page), 1)
    return max(n for n in range(1, batch + 1) if batch % n == 0 and n <= most)


def _group(
    window: int | None,
    size: int,
    take: Callable,
    q: Array,
    tables: Array,
    positions: Array,
    counts: Array,
) -> Array:
    rows = head_rows(q, jax.eval_shape(take, tables[:, 0])[0].shape[1])

    def body(column: Array, carry: OnlineSoftmax) -> OnlineSoftmax:
        keys = column * size + jnp.arange(size)[None]
        mask = attention_mask(positions, keys, None, None, window)
        return add_keys(carry, rows, *take(tables[:, column]), mask.mask)

    names = (None, "act_kv_heads")
    empty = jax.tree.map(
        lambda x: constrain(x, (*names, *[None] * (x.ndim - 2))), no_blocks(rows.shape)
    )
    return attended(jax.lax.fori_loop(0, counts[0], body, empty), q)


def _constrained(pages: Array) -> Array:
    """Constrains a part of an array whose rows are not split any further."""
    names = PagedCache.axes(pages.shape[-3], axis_size("act_kv_heads"))
    return constrain(pages, (*[None] * (pages.ndim - 3), *names[-3:]))
