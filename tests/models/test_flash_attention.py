"""Block-wise attention against attention written out in numpy, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models.attention import ATTENTION, plain
from jaxreason.models.attention_mask import attention_mask
from jaxreason.models.flash_attention import BLOCK, PACKED, attend_by_blocks, block_size

BATCH, LENGTH, HEADS, KV_HEADS, HEAD_DIM = 2, 21, 6, 2, 4


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for sizes in (BLOCK, PACKED):  # 21 tokens: five blocks and one that is filled up
        monkeypatch.setitem(sizes, "cpu", 4)


@pytest.fixture(scope="module")
def operands():
    random = np.random.default_rng(0)
    shapes = [(BATCH, LENGTH, heads, HEAD_DIM) for heads in (HEADS, KV_HEADS, KV_HEADS, HEADS)]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def packed():
    """Positions and segments of rows that hold three sequences, or two and padding."""
    positions = np.stack([np.r_[0:9, 0:7, 0:5], np.r_[0:6, 0:10, 0:5]]).astype(np.int32)
    segments = np.stack([np.repeat([1, 2, 3], [9, 7, 5]), np.repeat([1, 2, 0], [6, 10, 5])])
    return positions, segments.astype(np.int32)


def rows_of(segmented: bool):
    if segmented:
        return packed()
    return np.tile(np.arange(LENGTH, dtype=np.int32), (BATCH, 1)), None


def in_numpy(q, k, v, mask):
    out = np.zeros(q.shape)
    for b, t, n in np.ndindex(q.shape[:3]):
        keys, values = k[b, :, n // 3].astype(float), v[b, :, n // 3].astype(float)
        scores = np.where(mask[b, t], keys @ q[b, t, n] / np.sqrt(HEAD_DIM), -np.inf)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights / weights.sum() @ values
    return out


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("segmented", [True, False])
def test_it_equals_attention_written_out(operands, window, segmented):
    q, k, v, _ = operands
    positions, segments = rows_of(segmented)
    mask = np.asarray(attention_mask(positions, positions, segments, segments, window).mask)
    out = attend_by_blocks(q, k, v, positions, positions, segments, window)
    np.testing.assert_allclose(out, in_numpy(q, k, v, mask), atol=1e-5)


@pytest.mark.parametrize("name", ATTENTION)
def test_every_backend_equals_attention_written_out_where_a_token_is_one(operands, name):
    """On a CPU, the kernels of Splash and Triton are interpreted, and `blockwise` stands in for cuDNN."""
    q, k, v, _ = operands
    positions, segments = packed()
    where = attention_mask(positions, positions, segments, segments, None)
    real = segments > 0
    out = np.asarray(ATTENTION[name](q, k, v, where))
    np.testing.assert_allclose(
        out[real], in_numpy(q, k, v, np.asarray(where.mask))[real], atol=1e-5
    )


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("segmented", [True, False])
def test_its_gradient_is_that_of_attention_with_all_scores(operands, window, segmented):
    q, k, v, d_out = operands
    positions, segments = rows_of(segmented)
    where = attention_mask(positions, positions, segments, segments, window)

    def blocks(q, k, v):
        return attend_by_blocks(q, k, v, positions, positions, segments, window)

    found = jax.vjp(blocks, q, k, v)[1](d_out)
    expected = jax.vjp(lambda q, k, v: plain(q, k, v, where), q, k, v)[1](d_out)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_query_that_sees_nothing_gets_zeros_and_no_gradient(operands):
    q, k, v, d_out = operands
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), (BATCH, 1))

    def blocks(q, k, v):  # every key comes after every query
        return attend_by_blocks(q, k, v, positions, positions + LENGTH, None, None)

    out, pull = jax.vjp(blocks, q, k, v)
    np.testing.assert_array_equal(out, np.zeros(q.shape))
    for gradient in pull(d_out):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_blocks_that_cannot_see_each_other_are_never_computed(operands):
    q, k, v, _ = operands
    positions, segments = packed()
    spoiled = np.where(np.arange(LENGTH)[None, :, None, None] >= 20, np.nan, v)  # the last block
    out = attend_by_blocks(q, k, jnp.asarray(spoiled), positions, positions, segments, None)
    assert np.isfinite(np.asarray(out)[:, :16]).all()


@pytest.mark.parametrize(
    ("length", "packed", "expected"),
    [
        (200, False, 200),  # one block
        (256, False, 256),
        (257, False, 144),
        (513, False, 176),
        (2048, False, 256),
        (48, True, 48),
        (300, True, 64),
    ],
)
def test_blocks_on_a_cpu_are_large_and_filled_up_by_little(monkeypatch, length, packed, expected):
    monkeypatch.setitem(BLOCK, "cpu", 256)
    monkeypatch.setitem(PACKED, "cpu", 64)
    assert block_size(length, packed) == expected


def test_memory_grows_with_the_length_not_with_its_square():
    def temporary(length):
        shape = lambda heads: jax.ShapeDtypeStruct((1, length, heads, HEAD_DIM), jnp.float32)  # noqa: E731
        places = jax.ShapeDtypeStruct((1, length), jnp.int32)

        def loss(q, k, v, positions):
            return attend_by_blocks(q, k, v, positions, positions, None, None).sum()

        gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
        lowered = gradient.lower(shape(HEADS), shape(KV_HEADS), shape(KV_HEADS), places)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(1024) < 2.5 * temporary(512)


@pytest.mark.parametrize("is_remade", [False, True])
def test_memory_of_layers_in_a_loop_grows_with_the_length_too(is_remade):
    """What depends on positions alone is not made once for all layers: it has a number for each pair of tokens."""

    def temporary(length):
        def loss(weights, x, positions):
            def layer(x, weight):
                q = (x @ weight).reshape(2, length, HEADS, HEAD_DIM)
                k = q[:, :, :KV_HEADS]
                out = attend_by_blocks(q, k, k, positions, positions, None, None)
                return x + out.reshape(x.shape), None

            layer = jax.checkpoint(layer, prevent_cse=False) if is_remade else layer
            return jax.lax.scan(layer, x, weights)[0].sum()

        width = HEADS * HEAD_DIM
        weights = jax.ShapeDtypeStruct((3, width, width), jnp.float32)
        x = jax.ShapeDtypeStruct((2, length, width), jnp.float32)
        places = jax.ShapeDtypeStruct((2, length), jnp.int32)
        compiled = jax.jit(jax.grad(loss)).lower(weights, x, places).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(2048) < 2.5 * temporary(1024)


def test_the_gradient_of_a_cpu_fills_no_half_of_the_rows_up_with_zeros():
    q, k = jnp.ones((4, 64, HEADS, HEAD_DIM)), jnp.ones((4, 64, KV_HEADS, HEAD_DIM))
    places = jnp.broadcast_to(jnp.arange(64), (4, 64))

    def loss(q, k, v):
        return attend_by_blocks(q, k, v, places, places, None, None).sum()

    traced = str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(q, k, k))
    assert "dot_general" in traced and " pad[" not in traced
