"""Numbers kept as int8, and attention over keys and values that are."""

import jax.numpy as jnp
import numpy as np
import pytest
from pools import HEAD_DIM, HEADS, KV_HEADS, LAYERS, ROWS, make_cache, reference

from jaxreason.models import paged_cache_tpu
from jaxreason.models.attention_mask import attention_mask
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
