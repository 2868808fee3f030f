"""The plain key/value cache: a row of its own for every sequence, as long as the longest may be."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from jaxreason.models.attention import over_cache
from jaxreason.models.attention_mask import AttentionMask
from jaxreason.models.quantization import to_kept
from jaxreason.sharding import constrain

CACHE_AXES = ("layers", "act_batch", "act_kv_heads", None, None)  # of both parts of a cache


class KVCache(NamedTuple):
    """Keys (rotated) and values of every layer; the entry of position p is at index p of dim S.

    On CPU bfloat16 is kept as bits (`quantization`).

    Features are the last dim of both. With positions last, a write touches features that lie apart: the TPU's compiler
    then keeps a second cache in a layout for writing and copies between the two in every layer.
    """

    k: Num[Array, "L B K S H"]
    v: Num[Array, "L B K S H"]

    @property
    def length(self) -> int:
        """S, the number of positions in a row."""
        return self.v.shape[3]

    def write(
        self,
        layer: Int[Array, ""],
        positions: Int[Array, "B T"],
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K H"],
    ) -> "KVCache":
        """The cache with each token's keys and values written at its position; outside positions are dropped."""
        # a negative index would count from the end
        slots = jnp.where(positions < 0, self.length, positions)[:, :, None]
        rows, heads = jnp.arange(positions.shape[0])[:, None, None], jnp.arange(k.shape[2])

        def part(old: Array, new: Array) -> Array:
            # constrained, or the partitioner may choose another layout inside a loop and copy
            new = old.at[layer, rows, heads, slots].set(to_kept(new, old.dtype), mode="drop")
            return constrain(new, CACHE_AXES)

        return KVCache(part(self.k, k), part(self.v, v))

    def attend(
        self, q: Float[Array, "B T N H"], layer: Int[Array, ""], mask: AttentionMask
    ) -> Float[Array, "B T N H"]:
        """Attention of queries over one layer, see `attention.over_cache`."""
        return over_cache(q, *self, layer, mask)
