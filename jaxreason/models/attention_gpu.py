"""JAX's fused attention kernel for GPUs (Pallas, Triton), as a backend of `attention.ATTENTION`.

It takes segments, which cuDNN's does not, so rows may be packed; scores never exist outside it, and blocks above the
diagonal are skipped. As with `attention_tpu`, causality goes by a token's place in its row. Off GPUs it is interpreted
(slow). It has been lowered for GPUs and has not run on one.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.gpu import attention as library
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxreason.models.row_blocks import lengthen
from jaxreason.sharding import fitting_spec, heads_spec, platform

BLOCK = 128  # rows are padded to a multiple
PADDING = -1  # segment of what they are padded with


def triton(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segments: Int[Array, "B T"] | None,
) -> Float[Array, "B T N H"]:
    """Causal attention of rows over themselves within `segments`; keys and values are not repeated for their group.

    Under a mesh each device runs the kernel on its own rows and heads, the latter whole where the `tensor` axis does
    not divide both kinds. Rows are whole on every device: a `context` axis gathers them.
    """
    length = q.shape[1]
    if segments is None:
        segments = jnp.zeros(q.shape[:2], jnp.int32)
    pad = -length % BLOCK
    q, k, v = (lengthen(x, pad, 0) for x in (q, k, v))
    segments = lengthen(segments, pad, PADDING)
    return _on_devices(q, k, v, segments)[:, :length]


def _on_devices(q: Array, k: Array, v: Array, segments: Array) -> Array:
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return _heads(q, k, v, segments)
    (rows,) = fitting_spec(mesh, ("act_batch",), q.shape[:1])
    heads = heads_spec(mesh, q.shape[2], k.shape[2])
    wide, ids = PartitionSpec(rows, None, heads), PartitionSpec(rows)
    run = jax.shard_map(_heads, in_specs=(wide, wide, wide, ids), out_specs=wide, check_vma=False)
    return run(q, k, v, segments)


def _heads(q: Array, k: Array, v: Array, segments: Array) -> Array:
    """The kernel once for each query of a group, which the compiler makes one call."""
    groups = q.reshape(*q.shape[:2], k.shape[2], -1, q.shape[3])
    run = functools.partial(
        library.mha,
        sm_scale=q.shape[3] ** -0.5,
        causal=True,
        interpret=platform() != "gpu",
    )
    out = jax.vmap(lambda one: run(one, k, v, segments), in_axes=3, out_axes=3)(groups)
    return out.reshape(q.shape)
