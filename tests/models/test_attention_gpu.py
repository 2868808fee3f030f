"""The kernel for GPUs: interpreted on CPU against the plain backend, and lowered for GPUs."""

import re

import jax
import jax.numpy as jnp
import pytest
from backends import assert_equals_plain, assert_same_on_a_mesh, lowered_gradients

from jaxreason.models.attention_gpu import triton
from jaxreason.sharding import MeshConfig


@pytest.mark.parametrize(
    ("length", "heads", "kv_heads", "window", "packed"),
    [
        pytest.param(100, 4, 2, None, True, id="packed rows, padded to a block"),
        pytest.param(130, 2, 1, None, False, id="one sequence a row"),
        pytest.param(140, 4, 4, 37, True, id="a window, which it leaves to another"),
    ],
)
def test_the_kernel_equals_plain_attention(length, heads, kv_heads, window, packed):
    assert_equals_plain("triton", length, heads, kv_heads, window, packed)


@pytest.mark.parametrize("packed", [False, True])
def test_cudnns_backend_gives_the_same_where_there_is_no_cudnn(packed):
    assert_equals_plain("cudnn", 100, 4, 2, None, packed)


@pytest.mark.parametrize(
    "sizes", [MeshConfig(1, 2, 2, 2), MeshConfig(1, 2, 4, 1)], ids=["context", "more than kv heads"]
)
def test_eight_devices_give_the_numbers_of_one(sizes):
    assert_same_on_a_mesh("triton", 128, sizes)


def test_a_gpu_gets_kernels_and_neither_scores_nor_repeated_keys():
    shapes = [(1, 4096, 40, 128), (1, 4096, 8, 128), (1, 4096, 8, 128)]  # Qwen3-14B's heads
    args = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes]
    text = lowered_gradients(triton, args)
    calls = re.findall(r"custom_call @__gpu\$xla\.gpu\.triton.* : \((.*)\) ->", text)
    assert len(calls) == 3  # forward; backward, for queries and for keys
    given = [re.findall(r"tensor<([^>]*)>", operands) for operands in calls]
    keys = "1x4096x8x128xbf16"
    assert ["1x4096x40x128xbf16", keys, keys, "1x4096xi32"] in given
    assert "4096x4096" not in text
