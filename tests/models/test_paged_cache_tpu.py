"""What the kernel for TPUs is asked, by the library's own reference of it: prefill, decoding, idle rows, windows.

The kernel itself cannot be interpreted on CPU (the interpreter lacks a transform that it uses).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pools import HEAD_DIM, HEADS, KV_HEADS, LENGTH, ROWS, make_cache, reference

from jaxreason.models import paged_cache_tpu
from jaxreason.models.paged_cache import PagedCache
from jaxreason.models.paged_cache_tpu import PagedCacheTPU, kernel_serves
from jaxreason.models.visibility import visibility
from jaxreason.sharding import MeshConfig, make_mesh


def run(kind, calls, window):
    """Writes and attends in layer 1, call after call; what queries inside the cache get."""

    def step(cache, positions, q, k, v):
        where = visibility(positions, jnp.zeros((ROWS, 1), jnp.int32), None, None, window)
        cache = cache.write(1, positions, k, v)
        return cache, cache.attend(q, 1, where)

    cache, found = make_cache(kind), []
    for seed, positions in enumerate(calls):
        keys, places = jax.random.split(jax.random.key(seed), 3), positions.shape
        q = jax.random.normal(keys[0], (*places, HEADS, HEAD_DIM))
        k, v = (jax.random.normal(key, (*places, KV_HEADS, HEAD_DIM)) for key in keys[1:])
        cache, out = step(cache, jnp.asarray(positions), q, k, v)
        assert np.isfinite(out).all()
        found.append(np.asarray(out)[positions < LENGTH])
    return np.concatenate(found)


@pytest.mark.parametrize("window", [None, 7])
def test_the_kernels_reference_gives_what_ours_gives(window, monkeypatch):
    first = np.arange(20) + np.array([[0], [0], [LENGTH]])
    first[1, 13:] = LENGTH  # a shorter prompt; the third row is idle
    second = np.arange(20) + np.array([[20], [LENGTH], [0]])
    last = np.array([[40], [13], [20]])
    calls = [first, second, last, last + 1]
    expected = run(PagedCache, calls, window)
    monkeypatch.setattr(paged_cache_tpu.library, "ragged_paged_attention", reference)
    found = run(PagedCacheTPU, calls, window)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_heads_that_the_kernel_does_not_take_are_served_by_the_reference():
    assert kernel_serves(40, 8, 128, "bfloat16", "bfloat16")
    assert not kernel_serves(9, 3, 64, "bfloat16", "bfloat16")
    mesh = make_mesh(MeshConfig(1, 2, 4, 1), jax.devices()[:8])
    with jax.set_mesh(mesh):
        assert not kernel_serves(8, 2, 128, "bfloat16", "bfloat16")


def test_the_reference_reads_pages_of_either_layout(monkeypatch):
    monkeypatch.setattr(paged_cache_tpu, "kernel_serves", lambda *_: False)
    first = np.arange(20) + np.array([[0], [0], [LENGTH]])
    calls = [first, np.array([[20], [20], [LENGTH]])]
    found, expected = (run(kind, calls, None) for kind in (PagedCacheTPU, PagedCache))
    np.testing.assert_allclose(found, expected, atol=1e-6)
