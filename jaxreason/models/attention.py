"""Attention backends with one signature.

`q [B,T,N,H]` against `k, v [B,S,K,H]` with N = K·G: head n reads key/value head n // G, and keys and values
are never repeated. Every backend takes an `AttentionMask` and must give the same numbers (tests run them all).
Each names what it gives, so that `remat` can keep it; `packed_attention_gpu` does so itself.
`over_cache` serves the plain cache, whatever the backend: it reads one layer in the cache's own layout.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int, Num

from jaxreason.models.attention_gpu import cudnn, cudnn_serves, triton
from jaxreason.models.attention_mask import AttentionMask
from jaxreason.models.blockwise import (
    LOWEST,
    OnlineSoftmax,
    add_keys,
    attended,
    cut_blocks,
    head_rows,
    join_blocks,
    no_blocks,
)
from jaxreason.models.flash_attention import attend_by_blocks
from jaxreason.models.quantization import from_kept
from jaxreason.models.remat import ATTENDED
from jaxreason.sharding import constrain, platform

QUERY_BLOCK = 128  # queries that `over_cache` handles at a time
# cached positions read at a time; on CPU they stay in its caches
CACHE_BLOCK = {"cpu": 64, "gpu": 256, "tpu": 512}


def _named(backend: Callable[..., Array]) -> Callable[..., Array]:
    @functools.wraps(backend)
    def run(*args) -> Array:
        return checkpoint_name(backend(*args), ATTENDED)

    return run


@_named
def plain(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    mask: AttentionMask,
) -> Float[Array, "B T N H"]:
    """The reference backend: all scores at once, softmax in float32. A query that sees no key gets finite numbers."""
    batch, length, _, head_dim = q.shape
    groups = q.reshape(batch, length, k.shape[2], -1, head_dim)
    scores = jnp.einsum("BTKGH,BSKH->BKGTS", groups, k, preferred_element_type=jnp.float32)
    seen = jnp.where(mask.mask[:, None, None], scores * head_dim**-0.5, LOWEST)
    weights = jax.nn.softmax(seen, axis=-1).astype(v.dtype)
    return jnp.einsum("BKGTS,BSKH->BTKGH", weights, v).reshape(q.shape)


@_named
def blockwise(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    mask: AttentionMask,
) -> Float[Array, "B T N H"]:
    """Attention in plain XLA whose memory is linear in T: one block of queries meets one block of keys at a time."""
    return attend_by_blocks(
        q, k, v, mask.query_positions, mask.key_positions, mask.segments, mask.window
    )


def over_cache(
    q: Float[Array, "B T N H"],
    k: Num[Array, "L B K S H"],
    v: Num[Array, "L B K S H"],
    layer: Int[Array, ""],
    mask: AttentionMask,
) -> Float[Array, "B T N H"]:
    """Attention over one layer of a cache, block by block up to the last position that any query sees.

    The softmax is an `OnlineSoftmax`, so that a block is read once and nothing is as long as the cache. Queries
    outside the cache (padding) get finite numbers.
    """
    if q.shape[1] > QUERY_BLOCK:
        parts = tuple(cut_blocks(QUERY_BLOCK, x) for x in (q, mask.mask, mask.query_positions))
        out = jax.lax.map(lambda part: _over_blocks(part[0], k, v, layer, *part[1:]), parts)
        return join_blocks(out, q.shape[1])
    return _over_blocks(q, k, v, layer, mask.mask, mask.query_positions)


def _over_blocks(q: Array, k: Array, v: Array, layer, mask: Array, positions: Array) -> Array:
    kv_heads, length = k.shape[2:4]
    size = min(CACHE_BLOCK.get(platform(), CACHE_BLOCK["tpu"]), length)
    rows = head_rows(q, kv_heads)

    def take(part: Array, start: Array) -> Array:
        shape = (1, len(q), kv_heads, size, q.shape[3])
        block = from_kept(jax.lax.dynamic_slice(part, (layer, 0, 0, start, 0), shape)[0], q.dtype)
        return constrain(block, ("act_batch", "act_kv_heads", None, None))

    def body(index: Array, carry: OnlineSoftmax) -> OnlineSoftmax:
        start = jnp.minimum(index * size, length - size)  # the last block may begin earlier
        seen = jax.lax.dynamic_slice_in_dim(mask, start, size, axis=2)
        # A slice cannot reach beyond the end, so the last block begins earlier and overlaps the one before it: the keys
        # that were already added must not be added twice.
        seen &= start + jnp.arange(size) >= index * size
        return add_keys(carry, rows, take(k, start), take(v, start), seen)

    empty = jax.tree.map(_by_heads, no_blocks(rows.shape))
    # Positions outside the cache mark padding. The loop must not run to the end of the cache for their sake.
    last = jnp.max(jnp.where(positions < length, positions, 0), initial=0)
    return attended(jax.lax.fori_loop(0, last // size + 1, body, empty), q)


def _by_heads(x: Array) -> Array:
    return constrain(x, ("act_batch", "act_kv_heads", *[None] * (x.ndim - 2)))


@_named
def fused_on_tpu(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    mask: AttentionMask,
) -> Float[Array, "B T N H"]:
    """Splash attention: one kernel, no scores in memory; see `attention_tpu`."""
    # Other devices need none of JAX's parts for TPUs.
    from jaxreason.models.attention_tpu import splash

    return splash(q, k, v, mask.segments, mask.window)


def fused_on_gpu(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    mask: AttentionMask,
) -> Float[Array, "B T N H"]:
    """The kernel for packed rows (`attention_gpu`). It knows no sliding window: models with one use `blockwise`."""
    if mask.window is not None and mask.window < q.shape[1]:
        return blockwise(q, k, v, mask)
    return triton(q, k, v, mask.segments)


def fastest_on_gpu(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    mask: AttentionMask,
) -> Float[Array, "B T N H"]:
    """cuDNN's kernel where each row holds one sequence (no segments), else `triton`; `blockwise` without cuDNN."""
    if not cudnn_serves(q):
        return blockwise(q, k, v, mask)
    if mask.segments is not None:
        return fused_on_gpu(q, k, v, mask)
    return _named(cudnn)(q, k, v, mask.window)


ATTENTION: dict[str, Callable[[Array, Array, Array, AttentionMask], Array]] = {
    "plain": plain,
    "blockwise": blockwise,
    "splash": fused_on_tpu,
    "triton": fused_on_gpu,
    "cudnn": fastest_on_gpu,
}
