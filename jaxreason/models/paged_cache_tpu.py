"""The paged cache on TPUs: pages in the layout of JAX's ragged paged attention kernel, and the call of that kernel.

Scores and gathered pages never leave the kernel, and each row is read only as far as it is long. The program has been
compiled for TPUs ahead of time and has not run on one; tests give its arguments to the library's reference of the
kernel.
"""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import kernel as library
from jaxtyping import Array, Float, Int, Num

from jaxreason.models.attention_mask import AttentionMask
from jaxreason.models.paged_cache import PagedCache, has_place, heads_axis, on_devices, place
from jaxreason.sharding import axis_size

LANES = 128  # of a TPU's registers: head_dim must be a multiple
KEYS = 512  # positions that the kernel reads at a time
QUERIES = {True: 32, False: 64}  # that it handles at a time, when decoding and when not


class PagedCacheTPU(PagedCache):
    """A `PagedCache` with a page's positions before its heads: `pages [L, N, S, C, H]`, as the kernel reads them.

    The kernel expects more of the rows than the reference does. A row's positions are consecutive from its first
    query on, up to those outside the cache (padding). A row that goes on where the one before it ends, on the same
    pages, is one sequence with it.
    """

    CHANNELS, PLACES = 3, 2

    @staticmethod
    def shape(layers: int, number: int, channels: int, size: int, head_dim: int) -> tuple[int, ...]:
        """The shape of a pool."""
        return layers, number, size, channels, head_dim

    @staticmethod
    def axes(channels: int, tensor: int) -> tuple[str | None, ...]:
        """Logical names of a pool's dims."""
        return "layers", "act_batch", None, heads_axis(channels, tensor), None

    def put(
        self, layer: Int[Array, ""], positions: Int[Array, "B T"], new: Num[Array, "B T C H"]
    ) -> Num[Array, "L N S C H"]:
        """The pool with keys and values (already in the pool's dtype) put at `positions`."""
        return on_devices(_write, self, 0)(self.pages, self.tables, positions, new, layer)

    @staticmethod
    def take_page(
        pages: Num[Array, "L N S C H"], layer: Any, page: Int[Array, " B"]
    ) -> tuple[Num[Array, "B K S H"], Num[Array, "B K S H"]]:
        """Keys and values `[B, K, S, H]` of one page of each row."""
        number, size, channels, head_dim = pages.shape[1:]
        block = pages.reshape(-1, size, channels, head_dim)[layer * number + page]
        block = jnp.swapaxes(block.reshape(len(page), size, -1, 2, head_dim), 1, 2)
        return block[:, :, :, 0], block[:, :, :, 1]

    def attend_unscaled(
        self, layer: Int[Array, ""], mask: AttentionMask, q: Float[Array, "B T N H"]
    ) -> Float[Array, "B T N H"]:
        """`attend` by the kernel, if it takes a model with these heads; else by XLA."""
        kv_heads = self.pages.shape[self.CHANNELS] // 2
        if not tpu_kernel_serves(q.shape[2], kv_heads, q.shape[3], q.dtype, self.pages.dtype):
            return super().attend_unscaled(layer, mask, q)
        args = (self.pages, self.tables, mask.query_positions, q, layer)
        return on_devices(functools.partial(_attend, mask.window), self, 3)(*args)


def tpu_kernel_serves(
    heads: int, kv_heads: int, head_dim: int, dtype: Any, cache_dtype: Any
) -> bool:
    """Whether the kernel takes a model with these heads on the mesh that is set."""
    tensor = axis_size("act_kv_heads")
    if head_dim % LANES or kv_heads % tensor:
        return False
    try:
        sizes = heads // tensor, 2 * kv_heads // tensor
        library.get_min_heads_per_blk(*sizes, dtype, cache_dtype)
    except ValueError:
        return False
    return True


class _FlatRun(NamedTuple):
    """The sequences of a flat run of blocks: the first `number` entries count.

    Attributes:
      tables: the pages of each.
      ends: how many positions each has, the new ones included.
      begins: the first block of each, and after them the number of blocks.
      number: of sequences.
    """

    tables: Int[Array, "B M"]
    ends: Int[Array, " B"]
    begins: Int[Array, " B+1"]
    number: Int[Array, ""]


def _flat_run(tables: Int[Array, "B M"], positions: Int[Array, "B T"], size: int) -> _FlatRun:
    """Joins blocks that go on where the one before them ends, on the same pages, to one sequence that is read once."""
    # The kernel takes sequences one after the other as one flat run of queries. A prompt longer than a block comes as
    # several rows here; handed over as one sequence its pages are read once and not once a row.
    batch, queries = positions.shape
    first = positions[:, 0]
    start = jnp.where(has_place(tables, first, size), first, 0)
    goes_on = (start[1:] == start[:-1] + queries) & jnp.all(tables[1:] == tables[:-1], axis=1)
    if queries == 1:  # decoding: rows are sequences of their own
        goes_on = jnp.zeros_like(goes_on)
    is_first = jnp.concatenate([jnp.ones(1, bool), ~goes_on])
    begins = jnp.nonzero(is_first, size=batch, fill_value=batch)[0]
    begins = jnp.concatenate([begins, jnp.array([batch])]).astype(jnp.int32)
    mine = jnp.minimum(begins[:-1], batch - 1)
    ends = start[begins[1:] - 1] + queries
    return _FlatRun(
        tables[mine], ends.astype(jnp.int32), begins, jnp.sum(is_first, dtype=jnp.int32)
    )


def _write(pages: Array, tables: Array, positions: Array, new: Array, layer: Any) -> Array:
    page, offset = place(tables, positions, pages.shape[2], pages.shape[1])
    return pages.at[layer, page, offset].set(new, mode="drop")


def _attend(
    window: int | None, pages: Array, tables: Array, positions: Array, q: Array, layer: Any
) -> Array:
    batch, queries = q.shape[:2]
    number, size = pages.shape[1:3]
    run = _flat_run(tables, positions, size)
    beyond = -(-queries // size)  # a block's padding may reach beyond the longest sequence
    # The kernel knows no layers: pages of all layers are one pool, and the tables point into the part of this layer.
    tables = jnp.pad(run.tables, ((0, 0), (0, beyond))) + layer * number
    as_queries = None if pages.dtype == q.dtype else 1.0  # with a scale it casts them to q's dtype
    out = library.ragged_paged_attention(
        q.reshape(-1, *q.shape[2:]),
        pages.reshape(-1, *pages.shape[2:]),
        run.ends,
        tables.astype(jnp.int32),
        run.begins * queries,
        run.number[None],
        sm_scale=q.shape[3] ** -0.5,
        k_scale=as_queries,
        v_scale=as_queries,
        sliding_window=window,
        num_kv_pages_per_block=min(max(KEYS // size, 1), tables.shape[1]),
        num_queries_per_block=min(QUERIES[queries == 1], batch * queries),
    )
    return out.reshape(q.shape)
