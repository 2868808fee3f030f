"""Rows that hold trees of sequences: a beginning that several sequences share is stored and computed once.

A row lists a tree's tokens in depth-first order, so that the tokens from token k to the end of k's subtree are those
that have k before them in their own sequence: a token sees the earlier ones of its row whose subtree it is in.
Beside its row every token sees the same prefix, which was forwarded before and is kept as a `Cache` of one row.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from jaxreason.models.attention_mask import AttentionMask
from jaxreason.models.blockwise import LOWEST, cut_blocks, join_blocks
from jaxreason.models.kv_cache import KVCache
from jaxreason.models.quantization import from_kept

QUERY_BLOCK = 128  # queries whose scores exist at a time
UNROLLED = 16  # up to so many blocks each reads the keys before its end alone


class PrefixTree(NamedTuple):
    """Takes the place of a cache in `forward`, for rows that hold trees.

    Attributes:
      prefix: keys and values of the prefix, or None without one.
      prefix_length: tokens of the prefix; what the cache has beyond them is not read.
      ends: of each token the index in its row at which its subtree ends; 0 for padding.
      k, v: keys and values of the current layer.
    """

    prefix: KVCache | None
    prefix_length: Int[Array, ""]
    ends: Int[Array, "B T"]
    k: Float[Array, "B T K H"]
    v: Float[Array, "B T K H"]

    @property
    def length(self) -> int:
        """Part of the interface of a cache; here nothing is indexed by positions."""
        return 1

    def write(
        self,
        layer: Int[Array, ""],
        positions: Int[Array, "B T"],
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K H"],
    ) -> "PrefixTree":
        """The tree with the keys and values of this layer; those of other layers are not kept."""
        del layer, positions
        return self._replace(k=k, v=v)

    def attend(
        self, q: Float[Array, "B T N H"], layer: Int[Array, ""], mask: AttentionMask
    ) -> Float[Array, "B T N H"]:
        """Attention over the prefix and over each token's own ancestors, a block of queries at a time."""
        positions, number = mask.query_positions, q.shape[1]
        prefix = self._prefix_of(layer, q.dtype)
        # A token sees only what stands before it in its row. Unrolled, each block of queries reads just that part of
        # the keys, about half of the work of a loop, whose body has one shape for all blocks. Long rows would make too
        # large a program.
        if number <= UNROLLED * QUERY_BLOCK:
            parts = []
            for start in range(0, number, QUERY_BLOCK):
                block = slice(start, min(start + QUERY_BLOCK, number))
                places = jnp.arange(block.start, block.stop)
                of_block = q[:, block], positions[:, block], places
                parts.append(self._attend(*of_block, prefix, positions, mask.window, block.stop))
            return jnp.concatenate(parts, axis=1)
        blocks = cut_blocks(QUERY_BLOCK, q), cut_blocks(QUERY_BLOCK, positions)
        starts = jnp.arange(len(blocks[0])) * QUERY_BLOCK

        def of_block(part):
            places = part[2] + jnp.arange(QUERY_BLOCK)
            return self._attend(*part[:2], places, prefix, positions, mask.window, number)

        return join_blocks(jax.lax.map(of_block, (*blocks, starts)), number)

    def _prefix_of(self, layer: Int[Array, ""], dtype) -> tuple[Array, Array] | None:
        """Keys and values of the prefix in one layer, [K, P, H] each."""
        if self.prefix is None:
            return None
        return tuple(
            from_kept(jax.lax.dynamic_index_in_dim(x, layer, keepdims=False)[0], dtype)
            for x in self.prefix
        )

    def _attend(
        self,
        q: Float[Array, "B Q N H"],
        query_positions: Int[Array, "B Q"],
        places: Int[Array, " Q"],
        prefix: tuple[Num[Array, "K P H"], Num[Array, "K P H"]] | None,
        positions: Int[Array, "B T"],
        window: int | None,
        stop: int,
    ) -> Float[Array, "B Q N H"]:
        """Attention of the queries at `places`, over the prefix and the first `stop` tokens of the row."""
        k, v = self.k[:, :stop], self.v[:, :stop]
        groups = q.reshape(*q.shape[:2], k.shape[2], -1, q.shape[3])
        seen = self._seen(places, query_positions, positions[:, :stop], window)
        scores = _masked("BQKGH,BSKH->BKGQS", groups, k, seen)
        if prefix is None:
            weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
            return jnp.einsum("BKGQS,BSKH->BQKGH", weights, v).reshape(q.shape)
        size = prefix[0].shape[1]
        seen = self._seen_of_prefix(query_positions, size, window)
        both = jnp.concatenate([_masked("BQKGH,KSH->BKGQS", groups, prefix[0], seen), scores], -1)
        weights = jax.nn.softmax(both, axis=-1).astype(v.dtype)
        out = jnp.einsum("BKGQS,KSH->BQKGH", weights[..., :size], prefix[1])
        out += jnp.einsum("BKGQS,BSKH->BQKGH", weights[..., size:], v)
        return out.reshape(q.shape)

    def _seen(
        self, places: Array, query_positions: Array, positions: Array, window: int | None
    ) -> Bool[Array, "B Q S"]:
        keys = jnp.arange(positions.shape[1])
        ends = self.ends[:, None, : positions.shape[1]]
        seen = (keys <= places[:, None]) & (places[:, None] < ends)
        if window is not None:
            seen &= query_positions[:, :, None] - positions[:, None, :] < window
        return seen

    def _seen_of_prefix(
        self, query_positions: Array, size: int, window: int | None
    ) -> Bool[Array, "B Q P"]:
        keys = jnp.arange(size)
        seen = jnp.broadcast_to(keys < self.prefix_length, (*query_positions.shape, size))
        return seen if window is None else seen & (query_positions[:, :, None] - keys < window)


def _masked(
    subscripts: str, groups: Array, keys: Array, seen: Bool[Array, "B Q S"]
) -> Float[Array, "B K G Q S"]:
    scores = jnp.einsum(subscripts, groups, keys, preferred_element_type=jnp.float32)
    return jnp.where(seen[:, None, None], scores * groups.shape[-1] ** -0.5, LOWEST)


def empty_tree(
    prefix: KVCache | None,
    prefix_length: Int[Array, ""],
    ends: Int[Array, "B T"],
    heads: tuple[int, int],
    dtype: str,
) -> PrefixTree:
    """A tree without keys for `forward`; `heads` are the number of key/value heads and their size."""
    empty = jnp.zeros((*ends.shape, *heads), dtype)
    return PrefixTree(prefix, prefix_length, ends, empty, empty)
