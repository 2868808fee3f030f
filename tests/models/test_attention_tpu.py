"""Splash attention, interpreted on CPU, against the plain backend: values and gradients."""

import jax
import numpy as np
import pytest
from backends import draw, values_and_gradients

from jaxreason.sharding import MeshConfig, make_mesh


@pytest.mark.parametrize(
    ("length", "heads", "kv_heads", "window", "packed"),
    [
        pytest.param(100, 4, 2, None, True, id="packed rows, padded to the lanes"),
        pytest.param(256, 4, 4, 37, True, id="a window"),
        pytest.param(130, 2, 1, None, False, id="one sequence a row"),
    ],
)
def test_splash_equals_plain_attention(length, heads, kv_heads, window, packed):
    qkv, weights, segments = draw(2, length, heads, kv_heads, 64)
    segments = segments if packed else None
    got = values_and_gradients("splash", qkv, weights, segments, window)
    expected = values_and_gradients("plain", qkv, weights, segments, window)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize(
    "sizes", [MeshConfig(1, 2, 2, 2), MeshConfig(1, 2, 4, 1)], ids=["context", "more than kv heads"]
)
def test_eight_devices_give_the_numbers_of_one(sizes):
    qkv, weights, segments = draw(2, 256, 4, 2, 64)
    one = values_and_gradients("splash", qkv, weights, segments, None)
    with jax.set_mesh(make_mesh(sizes)):
        many = values_and_gradients("splash", qkv, weights, segments, None)
    for a, b in zip(many, one, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
