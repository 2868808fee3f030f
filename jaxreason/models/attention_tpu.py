"""Splash attention, JAX's fused kernel for TPUs, as a backend of `attention.ATTENTION`.

Scores never exist outside the kernel, and blocks above the diagonal or outside the window are skipped. Causality
goes by a token's place in its row and the segments' ids keep packed sequences apart, which is the rule of
`attention_mask` wherever positions count up within a segment. Off TPUs the kernel is interpreted (slow).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    BlockSizes,
    CausalMask,
    LocalMask,
    MultiHeadMask,
    SegmentIds,
    make_splash_mha,
)
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxreason.models.blockwise import lengthen
from jaxreason.models.remat import ATTENDED
from jaxreason.sharding import axis_size, fitting_spec, heads_spec, platform

LANES = 128  # of a TPU's registers: a device's part of a row is padded to a multiple
BLOCKS = (1024, 512, 256, 128)  # tokens of a tile: the largest that divides the row
PADDING = -1  # segment of what rows are padded with


def splash(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segments: Int[Array, "B T"] | None,
    window: int | None,
) -> Float[Array, "B T N H"]:
    """Causal attention of rows over themselves within `segments`, each query seeing `window` keys at most.

    Under a mesh each device runs the kernel on its own rows and heads; with a `context` axis it has a part of the
    queries and gathers the keys and values of the whole rows. Heads are whole on every device where the `tensor`
    axis does not divide both kinds.
    """
    mesh = jax.sharding.get_abstract_mesh()
    pad = -q.shape[1] % (LANES * axis_size("act_len"))
    scaled = (q.astype(jnp.float32) * q.shape[3] ** -0.5).astype(q.dtype)
    heads_first = [jnp.einsum("BTNH->BNTH", lengthen(x, pad, 0)) for x in (scaled, k, v)]
    if segments is not None:
        segments = lengthen(segments, pad, PADDING)
    run = _on_one_device if mesh.empty or mesh.size == 1 else functools.partial(_over_mesh, mesh)
    out = run(*heads_first, segments, window)
    return jnp.einsum("BNTH->BTNH", out)[:, : q.shape[1]]


def _on_one_device(q: Array, k: Array, v: Array, segments: Array | None, window: int | None):
    return _rows(_kernel(*q.shape[1:3], window, 1, 1), q, k, v, segments, segments)


def _over_mesh(mesh, q: Array, k: Array, v: Array, segments: Array | None, window: int | None):
    # The compiler cannot divide a kernel, so each device is given its part by `shard_map`. Over `context` a device has
    # a part of the queries, but all keys of its rows: the specs of keys leave their length whole, which gathers them.
    # The kernel itself is cut along with the queries (`manual_sharding_spec`), since it holds the mask of each query
    # block.
    rows, places = fitting_spec(mesh, ("act_batch", "act_len"), (q.shape[0], q.shape[2]))
    heads = heads_spec(mesh, q.shape[1], k.shape[1])
    kernel = _kernel(*q.shape[1:3], window, _size(mesh, heads), _size(mesh, places))
    split = NamedSharding(mesh, PartitionSpec(heads, places))
    queries, keys = PartitionSpec(rows, heads, places), PartitionSpec(rows, heads)
    if segments is None:
        ids = None, None
    else:
        ids = PartitionSpec(rows, places), PartitionSpec(rows)
    specs = (kernel.manual_sharding_spec(split), queries, keys, keys, *ids)
    run = jax.shard_map(_rows, mesh=mesh, in_specs=specs, out_specs=queries, check_vma=False)
    return run(kernel, q, k, v, segments, segments)


def _rows(kernel, q, k, v, query_segments, key_segments):
    """The kernel on each row: `q [B,N,T,H]`, `k, v [B,K,S,H]`."""
    if query_segments is None:
        return jax.vmap(kernel)(q, k, v)
    return jax.vmap(kernel)(q, k, v, SegmentIds(query_segments, key_segments))


def _kernel(num_heads: int, length: int, window: int | None, head_parts: int, parts: int):
    shape = (length, length)
    mask = CausalMask(shape) if window is None else LocalMask(shape, (window - 1, 0), 0)
    return make_splash_mha(
        MultiHeadMask([mask] * num_heads),
        block_sizes=_block_sizes(length // parts, length),
        head_shards=head_parts,
        q_seq_shards=parts,
        residual_checkpoint_name=ATTENDED,
        interpret=platform() != "tpu",
    )


def _block_sizes(queries: int, keys: int) -> BlockSizes:
    block_q, block_kv = (next(b for b in BLOCKS if n % b == 0) for n in (queries, keys))
    compute = min(block_kv, 512)
    return BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_kv_compute=compute,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_kv_dkv_compute=compute,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )


def _size(mesh, axes: tuple[str, ...] | str | None) -> int:
    axes = (axes,) if isinstance(axes, str) else axes or ()
    return math.prod(mesh.shape[axis] for axis in axes)
