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
    KV_HEADS,
    LENGTH,
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


def attend_random(kind, groups, positions):
    """Queries of `groups` heads for each of two key/value heads, over a full pool of random keys and values."""
    cache = make_cache(kind)
    keys, values = jax.random.split(jax.random.key(1))
    cache = cache._replace(pages=jax.random.normal(keys, cache.pages.shape))
    q = jax.random.normal(values, (*positions.shape, groups * KV_HEADS, HEAD_DIM))

    @jax.jit
    def attend(cache, q):
        where = attention_mask(positions, jnp.zeros((ROWS, 1), jnp.int32), None, None, None)
        return cache.attend(q, 1, where)

    return np.asarray(attend(cache, q))


@pytest.mark.parametrize("programs", [1, 512], ids=["one for each row", "many for each row"])
@pytest.mark.parametrize("tokens", [1, 3, 16])
@pytest.mark.parametrize("groups", [1, 3, 5, 8])
def test_any_number_of_queries_is_read_and_written_where_it_lies(
    groups, tokens, programs, monkeypatch
):
    monkeypatch.setattr(paged_cache_gpu, "PROGRAMS", programs)
    # Padding: the first row's tokens behind 13 have no place, the last row begins with -1.
    positions = jnp.arange(tokens) + jnp.array([[5], [LENGTH - tokens], [-1]])
    positions = positions.at[0, 13:].set(LENGTH)
    found = attend_random(PagedCacheGPU, groups, positions)
    real = np.asarray((positions >= 0) & (positions < LENGTH))
    np.testing.assert_array_equal(found[~real], 0)
    expected = attend_random(PagedCache, groups, positions)
    np.testing.assert_allclose(found[real], expected[real], atol=2e-5)


@pytest.mark.parametrize(("groups", "block", "blocks"), [(1, 16, 1), (3, 64, 1), (5, 64, 2)])
def test_a_program_takes_all_queries_of_a_block_of_tokens_if_they_fit(groups, block, blocks):
    q = jax.ShapeDtypeStruct((256, 16, 8 * groups, HEAD_DIM), jnp.bfloat16)
    cut = paged_cache_gpu._cut(q, 8, 32)
    assert cut == (8, block, blocks, 1)


def lowered_for_gpus(rows, queries, dtype, number=1 + 64 * 352):
    """The shape of a pool of Qwen3-14B's, and attention over it, lowered for an H100."""
    layers, columns, size, heads, kv_heads = 40, 352, 64, 40, 8
    shape = PagedCacheGPU.shape(layers, number, 2 * kv_heads, size, HEAD_DIM)
    pages = jax.ShapeDtypeStruct(shape, dtype)
    tables, positions = (jax.ShapeDtypeStruct((rows, n), jnp.int32) for n in (columns, queries))
    q = jax.ShapeDtypeStruct((rows, queries, heads, HEAD_DIM), jnp.bfloat16)

    def attend(pages, tables, positions, q):
        where = attention_mask(positions, jnp.zeros((rows, 1), jnp.int32), None, None, None)
        return PagedCacheGPU(pages, tables).attend(q, 3, where)

    with jax.sharding.use_abstract_mesh(h100()):
        traced = jax.jit(attend).trace(pages, tables, positions, q)
        return shape, traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize(("rows", "queries"), [(64, 1), (256, 16)], ids=["decode", "prefill"])
def test_a_gpu_gets_the_kernel_over_the_pool_as_it_lies(rows, queries, dtype):
    shape, text = lowered_for_gpus(rows, queries, dtype)
    (operands,) = re.findall(r"custom_call @__gpu\$xla\.gpu\.triton.* : \((.*)\) ->", text)
    pool = f"{shape[0] * shape[1] * shape[2] // 2}x2x{shape[3]}x{shape[4]}x"
    assert pool + {"bfloat16": "bf16", "int8": "i8"}[dtype] in operands
    assert "stablehlo.gather" not in text and "stablehlo.while" not in text


@pytest.mark.parametrize(("rows", "queries"), [(64, 1), (256, 16)], ids=["decode", "prefill"])
def test_a_gpu_runs_nothing_but_the_kernel_on_queries_and_values(rows, queries):
    _, text = lowered_for_gpus(rows, queries, "bfloat16")
    q = f"tensor<{rows}x{queries}x40x{HEAD_DIM}xbf16>"
    assert re.findall(r"custom_call @__gpu\$xla.* : \((tensor<\S+>), .*\) -> (.*)", text) == [
        (q, q)
    ]
    # What else has floats in it; the pool of one layer after another is seen as one.
    assert re.findall(r"stablehlo\.(\w+) [^\n\"]*f(?:16|32)>", text) == ["reshape"]


@pytest.mark.parametrize(
    ("dtype", "gib", "taken"),
    [
        ("int8", 1.9, True),
        ("int8", 2.1, False),
        ("int8", 3.9, False),
        ("int8", 4.1, True),
        ("bfloat16", 3.9, True),
    ],
)
def test_pools_whose_numbers_a_kernel_would_misread_are_left_to_the_reference(dtype, gib, taken):
    number = round(gib * 2**30 / jnp.dtype(dtype).itemsize / (40 * 16 * 64 * HEAD_DIM))
    _, text = lowered_for_gpus(64, 1, dtype, number)
    assert ("__gpu$xla.gpu.triton" in text) == taken
