"""Fused attention for GPUs: cuDNN's kernel where a row holds one sequence, else our own (`packed_attention_gpu`).

Ours takes segments, so rows may be packed; cuDNN's does not. With both, scores never leave the kernel and blocks above
the diagonal are skipped, with ours those of other segments too. As with `attention_tpu`, causality goes by a token's
place in its row. `docs/performance.md` has times on an H200.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxreason.models.blockwise import lengthen
from jaxreason.sharding import fitting_spec, heads_spec, platform

PADDING = 0  # segment of what rows are padded with, to a multiple of `BLOCK`


def cudnn_serves(q: Float[Array, "B T N H"]) -> bool:
    """Whether this machine has cuDNN, and cuDNN takes queries of this shape and dtype."""
    return platform() == "gpu" and q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[3] <= 128


def cudnn(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    window: int | None,
) -> Float[Array, "B T N H"]:
    """Causal attention of rows that hold one sequence each, from their start, over at most `window` tokens.

    Padding after the sequence attends to it and gets finite numbers.
    """

    def run(q: Array, k: Array, v: Array) -> Array:
        seen = None if window is None else (window - 1, 0)
        return jax.nn.dot_product_attention(
            q, k, v, is_causal=True, local_window_size=seen, implementation="cudnn"
        )

    return _on_devices(run, q, k, v)


def triton(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segments: Int[Array, "B T"] | None,
) -> Float[Array, "B T N H"]:
    """Causal attention of rows over themselves within runs of equal `segments`; padding sees itself alone.

    Under a mesh each device runs the kernel on its own rows and heads, the latter whole where the `tensor` axis does
    not divide both kinds. Rows are whole on every device: a `context` axis gathers them.
    """
    # Other devices need none of JAX's parts for writing kernels.
    from jaxreason.models.packed_attention_gpu import BLOCK, packed_attention

    length = q.shape[1]
    if segments is None:
        segments = jnp.ones(q.shape[:2], jnp.int32)
    pad = -length % BLOCK
    q, k, v = (lengthen(x, pad, 0) for x in (q, k, v))
    segments = lengthen(segments, pad, PADDING)
    return _on_devices(packed_attention, q, k, v, segments)[:, :length]


def _on_devices(run: Callable, q: Array, k: Array, v: Array, *ids: Array) -> Array:
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return run(q, k, v, *ids)
    (rows,) = fitting_spec(mesh, ("act_batch",), q.shape[:1])
    heads = heads_spec(mesh, q.shape[2], k.shape[2])
    wide = PartitionSpec(rows, None, heads)
    specs = (wide, wide, wide, *[PartitionSpec(rows) for _ in ids])
    return jax.shard_map(run, in_specs=specs, out_specs=wide, check_vma=False)(q, k, v, *ids)
