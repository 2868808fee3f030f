"""Numbers kept as int8, and attention over keys and values that are."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from pools import HEAD_DIM, HEADS, KV_HEADS, LAYERS, ROWS, make_cache, reference

from jaxreason.models import paged_cache_tpu
from jaxreason.models.attention_mask import attention_mask
from jaxreason.models.layers import Linear
from jaxreason.models.paged_cache import PagedCache
from jaxreason.models.paged_cache_gpu import PagedCacheGPU
from jaxreason.models.paged_cache_tpu import PagedCacheTPU
from jaxreason.models.quantization import quantize_outputs, scale_for, to_int8


def test_numbers_are_rounded_to_127_steps_either_way_and_held_within():
    scale = scale_for(jnp.array([2.54, 0.0]))
    np.testing.assert_allclose(scale, [0.02, 1.0])
    found = to_int8(jnp.array([[2.54, 0.0], [-0.031, 0.0], [3.0, 0.0], [-9.0, 0.0]]), scale)
    assert found.dtype == jnp.int8
    np.testing.assert_array_equal(found, [[127, 0], [-2, 0], [127, 0], [-127, 0]])


def test_a_kernel_is_off_by_half_a_step_of_its_output_at_most():
    kernel = np.random.default_rng(0).normal(size=(3, 20, 7)).astype(np.float32) * np.arange(7)
    whole, scale = quantize_outputs(jnp.asarray(kernel))
    np.testing.assert_allclose(scale[:, 1:], np.abs(kernel).max(axis=1)[:, 1:] / 127, rtol=1e-6)
    off = np.abs(np.asarray(whole) * np.asarray(scale)[:, None] - kernel)
    assert (off <= np.asarray(scale)[:, None] / 2 + 1e-6).all()


@pytest.mark.parametrize("output_first", [True, False])
def test_int8_in_float16_gives_numbers_whose_sums_of_whole_numbers_float16_cannot_hold(
    output_first,
):
    sizes, axes = (32, 6), ("embed", "mlp")
    linear = Linear(sizes, axes, False, 1.0, "float16", nnx.Rngs(0), output_first, int8=True)
    rng = np.random.default_rng(0)
    whole, scale = quantize_outputs(jnp.asarray(rng.normal(0, 0.05, sizes)))
    linear.kernel[...], linear.kernel_scale[...] = whole.T if output_first else whole, scale
    x = rng.normal(size=(2, 3, 32)).astype(np.float16)
    x[:, :, 5] = 1500  # As large as a few features of trained models are.
    assert np.abs(x.astype(np.float32) @ np.asarray(whole)).max() > 2**16
    found = linear(jnp.asarray(x))
    assert found.dtype == jnp.float16
    wanted = x.astype(np.float32) @ (np.asarray(whole) * np.asarray(scale))
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("kind", [PagedCache, PagedCacheGPU, PagedCacheTPU])
def test_attention_over_int8_is_attention_over_the_rounded_keys_and_values(kind, monkeypatch):
    monkeypatch.setattr(paged_cache_tpu.library, "ragged_paged_attention", reference)
    rng = np.random.default_rng(1)
    channels = rng.uniform(0.1, 3.0, (LAYERS, 2 * KV_HEADS, HEAD_DIM)).astype(np.float32)
    positions = jnp.asarray(np.tile(np.arange(20), (ROWS, 1)))
    q = jnp.asarray(rng.normal(size=(ROWS, 20, HEADS, HEAD_DIM)), jnp.float32)
    # as large as each feature's range: k and v of a head are neighbours among the scales
    new = np.clip(rng.normal(size=(ROWS, 20, 2 * KV_HEADS, HEAD_DIM)) / 2, -1, 1) * channels[1]
    rounded = np.round(new / (channels[1] / 127)) * (channels[1] / 127)
    where = attention_mask(positions, jnp.zeros((ROWS, 1), jnp.int32), None, None, None)

    def attend(cache, new):
        k, v = (jnp.asarray(new[:, :, i::2], jnp.float32) for i in (0, 1))
        return cache.write(1, positions, k, v).attend(q, 1, where)

    found = attend(make_cache(kind, jnp.asarray(channels / 127)), new)
    np.testing.assert_allclose(found, attend(make_cache(kind), rounded), atol=2e-5)
    assert np.abs(found - attend(make_cache(kind), new)).max() > 1e-4
