"""Inputs for attention backends, what one makes of them, and a GPU to lower them for."""

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.mesh import AbstractDevice  # public from jax 0.11 on
from jax.sharding import AbstractMesh, AxisType

from jaxreason.models.attention import ATTENTION
from jaxreason.models.attention_mask import attention_mask
from jaxreason.sharding import MeshConfig, make_mesh


def draw(rows, length, heads, kv_heads, head_dim):
    rng = np.random.default_rng(0)
    shapes = [(rows, length, n, head_dim) for n in (heads, kv_heads, kv_heads, heads)]
    *qkv, weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    segments = np.sort(rng.integers(1, 4, (rows, length)), axis=1).astype(np.int32)
    return qkv, weights, segments


def values_and_gradients(name, qkv, weights, segments, window):
    """Of a backend; positions count up within each segment, as in a packed row."""
    length = weights.shape[1]
    ids = np.ones(weights.shape[:2], np.int32) if segments is None else segments
    starts = (ids[:, :, None] > ids[:, None, :]).sum(-1)
    positions = jnp.asarray(np.arange(length) - starts)

    def run(q, k, v):
        given = None if segments is None else jnp.asarray(segments)
        where = attention_mask(positions, positions, given, given, window)
        out = ATTENTION[name](q, k, v, where)
        return jnp.sum(out * weights), out

    (_, out), gradients = jax.jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))(*qkv)
    return out, *gradients


def assert_equals_plain(name, length, heads, kv_heads, window, packed):
    """Values and gradients of a backend are those of `plain`."""
    qkv, weights, segments = draw(2, length, heads, kv_heads, 64)
    segments = segments if packed else None
    got, expected = (
        values_and_gradients(which, qkv, weights, segments, window) for which in (name, "plain")
    )
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def assert_same_on_a_mesh(name, length, sizes):
    """Values and gradients of a backend on a mesh are those without one."""
    qkv, weights, segments = draw(2, length, 4, 2, 64)
    one = values_and_gradients(name, qkv, weights, segments, None)
    with jax.set_mesh(make_mesh(sizes)):
        many = values_and_gradients(name, qkv, weights, segments, None)
    for a, b in zip(many, one, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def h100():
    """An abstract mesh of one GPU that is not here."""
    device = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=None, platform="gpu")
    names = MeshConfig.__dataclass_fields__
    auto = (AxisType.Auto,) * len(names)
    return AbstractMesh((1,) * len(names), tuple(names), auto, abstract_device=device)


def lowered_gradients(attend, args):
    """The gradients of `attend(q, k, v, segments)`, lowered for a GPU; `args` are abstract q, k and v."""
    segments = jax.ShapeDtypeStruct(args[0].shape[:2], jnp.int32)

    def gradients(q, k, v, segments):
        total = lambda *qkv: attend(*qkv, segments).astype(jnp.float32).sum()  # noqa: E731
        return jax.grad(total, (0, 1, 2))(q, k, v)

    with jax.sharding.use_abstract_mesh(h100()):
        traced = jax.jit(gradients).trace(*args, segments)
        return traced.lower(lowering_platforms=("cuda",)).as_text()
