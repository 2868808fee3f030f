"""The kernels for packed rows: interpreted against attention written out in numpy, and lowered for GPUs."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from backends import lowered_gradients
from jax.extend.core import jaxprs_in_params

from jaxreason.models.attention_gpu import triton
from jaxreason.models.packed_attention_gpu import (
    BLOCK,
    LARGE,
    SMALL,
    Tile,
    Tiles,
    packed_attention,
    run_starts,
)
from jaxreason.models.remat import REMAT
from jaxreason.sharding import MeshConfig, make_mesh

WIDE_STEPS = Tiles(Tile(32, 128, 4, 2), Tile(128, 32, 4, 2), Tile(64, 128, 4, 2))
ROWS = {
    "one segment": [[(1, 384)], [(7, 384)]],
    "borders on blocks and inside": [
        [(1, 128), (2, 128), (3, 128)],
        [(1, 100), (2, 157), (3, 127)],
    ],
    "short ones, of one token, and padding": [
        [(1, 1), (2, 1), (3, 30), (4, 63), (5, 1), (0, 288)],
        [(1, 127), (2, 1), (3, 1), (4, 200), (-1, 55)],
    ],
    "an id that comes twice": [[(1, 90), (2, 100), (1, 194)], [(0, 64), (1, 256), (0, 64)]],
    "not a multiple of the block": [[(1, 70), (2, 130)], [(1, 200)]],
}


def ids_of(rows):
    return np.stack([np.repeat(*np.array(row).T) for row in rows]).astype(np.int32)


def draw(length, heads, kv_heads, head_dim, rows=2):
    random = np.random.default_rng(0)
    shapes = [(rows, length, n, head_dim) for n in (heads, kv_heads, kv_heads, heads)]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def in_numpy(q, k, v, d, ids):
    """What attention gives and its gradients, in float64; padding (ids of 0 or less) sees itself alone."""
    q, k, v, d = (x.astype(np.float64) for x in (q, k, v, d))
    begins = (np.diff(ids, prepend=ids[:, :1]) != 0) | (ids <= 0)
    group, runs = q.shape[2] // k.shape[2], np.cumsum(begins, axis=1)
    wide_k, wide_v = (np.repeat(x, group, axis=2) for x in (k, v))
    seen = (runs[:, :, None] == runs[:, None]) & np.tri(q.shape[1], dtype=bool)
    scores = np.einsum("btnh,bsnh->bnts", q, wide_k) * q.shape[3] ** -0.5
    weights = np.exp(np.where(seen[:, None], scores, -np.inf))
    weights /= weights.sum(-1, keepdims=True)
    d_weights = np.einsum("btnh,bsnh->bnts", d, wide_v)
    mean = (weights * d_weights).sum(-1, keepdims=True)
    d_scores = weights * (d_weights - mean) * q.shape[3] ** -0.5
    dk, dv = np.einsum("bnts,btnh->bsnh", d_scores, q), np.einsum("bnts,btnh->bsnh", weights, d)
    dk, dv = (x.reshape(*k.shape[:3], group, -1).sum(3) for x in (dk, dv))
    out = np.einsum("bnts,bsnh->btnh", weights, wide_v)
    return out, np.einsum("bnts,bsnh->btnh", d_scores, wide_k), dk, dv


def by_kernels(run, q, k, v, d):
    @jax.jit
    def both(q, k, v, d):
        out, backward = jax.vjp(run, q, k, v)
        return out, *backward(d)

    return [np.asarray(x, np.float32) for x in both(q, k, v, d)]


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("tiles", [SMALL, LARGE, WIDE_STEPS], ids=["small", "large", "wide steps"])
def test_values_and_gradients_equal_attention_written_out(rows, tiles):
    ids = ids_of(rows)
    operands = draw(ids.shape[1], 2, 1, 64)
    pad = [(0, 0), (0, -ids.shape[1] % BLOCK)]

    def run(q, k, v):
        longer = [jnp.pad(x, [*pad, (0, 0), (0, 0)]) for x in (q, k, v)]
        segments = np.pad(ids, pad, constant_values=-1)
        return packed_attention(*longer, jnp.asarray(segments), tiles)[:, : ids.shape[1]]

    for a, b in zip(by_kernels(run, *operands), in_numpy(*operands, ids), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("group", [1, 2, 5, 8])
def test_the_heads_of_a_group_share_keys(group):
    ids = ids_of([[(1, 50), (2, 60)]])
    operands = draw(110, 2 * group, 2, 16, rows=1)
    got = by_kernels(lambda q, k, v: triton(q, k, v, jnp.asarray(ids)), *operands)
    for a, b in zip(got, in_numpy(*operands, ids), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("head_dim", [4, 80])
def test_heads_of_any_width_are_padded(head_dim):
    operands = draw(100, 2, 1, head_dim, rows=1)
    got = by_kernels(lambda q, k, v: triton(q, k, v, None), *operands)
    for a, b in zip(got, in_numpy(*operands, np.ones((1, 100), np.int32)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_as_good_as_its_products(dtype):
    ids = ids_of(ROWS["borders on blocks and inside"])
    operands = [jnp.asarray(x, dtype) for x in draw(384, 4, 2, 64)]
    got = by_kernels(lambda q, k, v: triton(q, k, v, jnp.asarray(ids)), *operands)
    expected = in_numpy(*(np.asarray(x, np.float32) for x in operands), ids)
    for a, b in zip(got, expected, strict=True):
        assert np.linalg.norm(a - b) < 0.01 * np.linalg.norm(b)


def test_blocks_of_other_segments_are_not_read():
    """They hold no numbers, so anything that touched them would be no number either."""
    ids = ids_of([[(1, 128), (2, 256), (3, 128)]])
    operands = draw(512, 2, 1, 64, rows=1)
    whole = by_kernels(lambda *qkv: packed_attention(*qkv, ids, LARGE), *operands)
    inside = ids[0] == 2
    for x in operands:
        x[:, ~inside] = np.nan
    cut = by_kernels(lambda *qkv: packed_attention(*qkv, ids, LARGE), *operands)
    for a, b in zip(cut, whole, strict=True):
        np.testing.assert_array_equal(a[:, inside], b[:, inside])


def test_padding_reads_no_other_block_of_padding():
    ids = ids_of([[(1, 100), (0, 412)]])
    operands = draw(512, 2, 1, 64, rows=1)
    for x in operands:
        x[:, 256:384] = np.nan
    for got in by_kernels(lambda *qkv: packed_attention(*qkv, ids, LARGE), *operands):
        assert np.isfinite(got[:, :256]).all() and np.isfinite(got[:, 384:]).all()


def test_runs_begin_where_the_id_changes_and_at_each_token_of_padding():
    random = np.random.default_rng(0)
    ids = np.repeat(random.integers(0, 3, (3, 64)), 6, axis=1).astype(np.int32)
    expected = [
        [
            max(i for i in range(t + 1) if i == 0 or row[i] != row[i - 1] or row[i] == 0)
            for t in range(384)
        ]
        for row in ids
    ]
    np.testing.assert_array_equal(run_starts(jnp.asarray(ids)), expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("head_dim", [64, 80, 128, 256])
@pytest.mark.parametrize("length", [4000, 22528])
def test_all_kernels_lower_for_a_gpu(length, head_dim, dtype):
    shapes = [(2, length, heads, head_dim) for heads in (10, 2, 2)]
    args = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    text = lowered_gradients(triton, args)
    names = re.findall(r'name = "packed_attention_(\w+)"', text)
    assert sorted(names) == ["attend", "key_gradients", "query_gradients"]


def kernels_read(jaxpr):
    """Names of the kernels of which a result is read, in a jaxpr and those inside it."""
    read = {id(v) for eqn in jaxpr.eqns for v in eqn.invars} | {id(v) for v in jaxpr.outvars}
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "pallas_call":
            yield from [eqn.params["name"]] * any(id(v) in read for v in eqn.outvars)
        else:
            for inner in jaxprs_in_params(eqn.params):
                yield from kernels_read(inner)


@pytest.mark.parametrize(
    ("remat", "times"), [("attention", 1), ("weight_dots_attention", 1), ("full", 2)]
)
@pytest.mark.parametrize("devices", [1, 8])
def test_the_forward_kernel_runs_once_where_attention_is_kept(remat, times, devices):
    q, k, v, _ = draw(128, 4, 2, 16, rows=4)

    def loss(q, k, v):
        layer = jax.checkpoint(lambda *qkv: jnp.sin(triton(*qkv, None)), policy=REMAT[remat].policy)
        return layer(q, k, v).sum()

    mesh = (
        jax.set_mesh(make_mesh(MeshConfig(1, 2, 2, 2))) if devices > 1 else contextlib.nullcontext()
    )
    with mesh:
        found = list(kernels_read(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(q, k, v).jaxpr))
    assert found.count("packed_attention_attend") == times
