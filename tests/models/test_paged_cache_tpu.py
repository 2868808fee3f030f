"""What the kernel for TPUs is asked, by the library's own reference of it: prefill, decoding, idle rows, windows.

The kernel itself cannot be interpreted on CPU (the interpreter lacks a transform that it uses).
"""

import jax
import numpy as np
import pytest
from pools import attend_calls, attend_runs, chunks_and_tokens, flat_runs, reference

from jaxreason.models import paged_cache_tpu
from jaxreason.models.paged_cache import PagedCache
from jaxreason.models.paged_cache_tpu import PagedCacheTPU, tpu_kernel_serves
from jaxreason.sharding import MeshConfig, make_mesh


@pytest.mark.parametrize("window", [None, 7])
def test_the_kernels_reference_gives_what_ours_gives(window, monkeypatch):
    expected = attend_calls(PagedCache, chunks_and_tokens(), window)
    monkeypatch.setattr(paged_cache_tpu.library, "ragged_paged_attention", reference)
    found = attend_calls(PagedCacheTPU, chunks_and_tokens(), window)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 7])
def test_blocks_that_follow_each_other_are_one_sequence_to_the_kernel(window, monkeypatch):
    expected, asked = attend_runs(PagedCache, flat_runs(), window), []

    def kernel(*args, **options):
        asked.append([np.asarray(part).tolist() for part in args[2:]])
        return reference(*args, **options)

    monkeypatch.setattr(paged_cache_tpu.library, "ragged_paged_attention", kernel)
    found = attend_runs(PagedCacheTPU, flat_runs(), window)
    assert found.keys() == expected.keys() and len(found) == 67
    for place, values in expected.items():
        np.testing.assert_allclose(found[place], values, atol=2e-5)
    lengths, _, starts, number = asked[0]
    assert number == [3] and starts[:4] == [0, 24, 40, 48] and lengths[:3] == [24, 16, 8]
    lengths, _, starts, number = asked[1]
    assert number == [3] and starts[:4] == [0, 24, 40, 48] and lengths[:3] == [45, 16, 18]


def test_heads_that_the_kernel_does_not_take_are_served_by_the_reference():
    assert tpu_kernel_serves(40, 8, 128, "bfloat16", "bfloat16")
    assert not tpu_kernel_serves(9, 3, 64, "bfloat16", "bfloat16")
    mesh = make_mesh(MeshConfig(1, 2, 4, 1), jax.devices()[:8])
    with jax.set_mesh(mesh):
        assert not tpu_kernel_serves(8, 2, 128, "bfloat16", "bfloat16")


def test_the_reference_reads_pages_of_either_layout(monkeypatch):
    monkeypatch.setattr(paged_cache_tpu, "tpu_kernel_serves", lambda *_: False)
    kinds = PagedCacheTPU, PagedCache
    found, expected = (attend_calls(kind, chunks_and_tokens()[:3:2], None) for kind in kinds)
    np.testing.assert_allclose(found, expected, atol=1e-6)
