"""Splash attention, interpreted on CPU, against the plain backend: values and gradients."""

import pytest
from backends import assert_equals_plain, assert_same_on_a_mesh

from jaxreason.sharding import MeshConfig


@pytest.mark.parametrize(
    ("length", "heads", "kv_heads", "window", "packed"),
    [
        pytest.param(100, 4, 2, None, True, id="packed rows, padded to the lanes"),
        pytest.param(256, 4, 4, 37, True, id="a window"),
        pytest.param(130, 2, 1, None, False, id="one sequence a row"),
    ],
)
def test_splash_equals_plain_attention(length, heads, kv_heads, window, packed):
    assert_equals_plain("splash", length, heads, kv_heads, window, packed)


@pytest.mark.parametrize(
    "sizes", [MeshConfig(1, 2, 2, 2), MeshConfig(1, 2, 4, 1)], ids=["context", "more than kv heads"]
)
def test_eight_devices_give_the_numbers_of_one(sizes):
    assert_same_on_a_mesh("splash", 256, sizes)
