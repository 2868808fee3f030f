"""The kernel over pages for GPUs: interpreted on CPU against the reference, and lowered for GPUs."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from backends import h100
from pools import (
    HEAD_DIM,
    HEADS,
    ROWS,
    attend_calls,
    attend_runs,
    chunks_and_tokens,
    flat_runs,
    make_cache,
)

from jaxreason.models import paged_cache_gpu
from jaxreason.models.attention_mask import attention_mask
from jaxreason.models.paged_cache import PagedCache
from jaxreason.models.paged_cache_gpu import PagedCacheGPU, gpu_kernel_serves
from jaxreason.sharding import MeshConfig, make_mesh


@pytest.mark.parametrize("programs", [1, 512], ids=["one for each row", "many for each row"])
@pytest.mark.parametrize("window", [None, 7])
def test_the_kernel_gives_what_the_reference_gives(window, programs, monkeypatch):
    monkeypatch.setattr(paged_cache_gpu, "PROGRAMS", programs)
    expected = attend_calls(PagedCache, chunks_and_tokens(), window)
    found = attend_calls(PagedCacheGPU, chunks_and_tokens(), window)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_more_queries_than_a_program_takes_are_cut_into_blocks(monkeypatch):
    monkeypatch.setattr(paged_cache_gpu, "MOST_QUERIES", 16)
    expected = attend_calls(PagedCache, chunks_and_tokens(), None)
    np.testing.assert_allclose(
        attend_calls(PagedCacheGPU, chunks_and_tokens(), None), expected, atol=2e-5
    )


@pytest.mark.slow
def test_blocks_of_one_sequence_see_each_other_within_a_dispatch():
    """By the kernel as by the reference, and there as if each sequence had come alone, a block at a time."""
    runs = flat_runs()
    apart = [[block] for blocks in runs for block in blocks if block[2]]
    alone = attend_runs(PagedCache, apart, None)
    for kind in (PagedCache, PagedCacheGPU):
        found = attend_runs(kind, runs, None)
        assert found.keys() == alone.keys()
        for place, values in alone.items():
            np.testing.assert_allclose(found[place], values, atol=2e-5)


@pytest.mark.slow
def test_two_devices_with_a_head_each_give_the_numbers_of_one():
    expected = attend_calls(PagedCache, chunks_and_tokens(), None)
    with jax.set_mesh(make_mesh(MeshConfig(1, 1, 2, 1), jax.devices()[:2])):
        found = attend_calls(PagedCacheGPU, chunks_and_tokens(), None)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_padding_and_rows_without_pages_get_zero():
    cache = make_cache(PagedCacheGPU)
    positions = jnp.full((ROWS, 2), -1)
    q = jnp.ones((ROWS, 2, HEADS, HEAD_DIM))
    where = attention_mask(positions, jnp.zeros((ROWS, 1), jnp.int32), None, None, None)
    np.testing.assert_array_equal(cache.attend(q, 1, where), np.zeros(q.shape))


@pytest.mark.parametrize(
    ("page_size", "head_dim", "taken"),
    [(64, 128, True), (16, 64, True), (5, 128, False), (64, 80, False), (8, 64, False)],
)
def test_pages_that_are_no_powers_of_two_are_left_to_the_reference(page_size, head_dim, taken):
    assert gpu_kernel_serves(page_size, head_dim) == taken


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize(("rows", "queries"), [(64, 1), (256, 16)], ids=["decode", "prefill"])
def test_a_gpu_gets_the_kernel_over_the_pool_as_it_lies(rows, queries, dtype):
    layers, columns, size, heads, kv_heads = 40, 352, 64, 40, 8  # Qwen3-14B's heads
    shape = PagedCacheGPU.shape(layers, 1 + 64 * columns, 2 * kv_heads, size, HEAD_DIM)
    pages = jax.ShapeDtypeStruct(shape, dtype)
    tables, positions = (jax.ShapeDtypeStruct((rows, n), jnp.int32) for n in (columns, queries))
    q = jax.ShapeDtypeStruct((rows, queries, heads, HEAD_DIM), jnp.bfloat16)

    def attend(pages, tables, positions, q):
        where = attention_mask(positions, jnp.zeros((rows, 1), jnp.int32), None, None, None)
        return PagedCacheGPU(pages, tables).attend(q, 3, where)

    with jax.sharding.use_abstract_mesh(h100()):
        traced = jax.jit(attend).trace(pages, tables, positions, q)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    (operands,) = re.findall(r"custom_call @__gpu\$xla\.gpu\.triton.* : \((.*)\) ->", text)
    pool = f"{layers * shape[1] * kv_heads}x2x{size}x{HEAD_DIM}x"
    assert pool + {"bfloat16": "bf16", "int8": "i8"}[dtype] in operands
    assert "stablehlo.gather" not in text and "stablehlo.while" not in text
