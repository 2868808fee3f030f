"""Rows made longer, cut into blocks and joined again, also where their length is split over devices."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason import models
from jaxreason.models.blockwise import cut_blocks, join_blocks, lengthen
from jaxreason.sharding import MeshConfig, constrain, make_mesh

PACKAGE = Path(models.__file__).parent.parent


def test_rows_are_cut_with_a_value_in_the_places_past_their_end():
    rows = np.arange(1, 11).reshape(2, 5)
    found = cut_blocks(3, rows, -7)
    expected = [[[1, 2, 3], [6, 7, 8]], [[4, 5, -7], [9, 10, -7]]]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(join_blocks(found, 5), rows)


def test_the_value_may_be_one_for_each_row():
    rows = np.arange(1, 5).reshape(2, 2)
    np.testing.assert_array_equal(lengthen(rows, 1, rows[:, -1:]), [[1, 2, 2], [3, 4, 4]])


@pytest.mark.parametrize("length", [8, 10, 12])
@pytest.mark.parametrize("context", [2, 4])
def test_each_filling_keeps_its_value_where_the_length_is_split(length, context):
    """The partitioner of jaxlib 0.10.2 pads one array once: a second value was that of the first."""

    def fillings(rows):
        rows = constrain(rows, ("act_batch", "act_len"))
        longer = [lengthen(rows, 16 - length, value) for value in (0, 99, rows[:, -1:])]
        blocks = [cut_blocks(16, rows, value)[0] for value in (-1, 5)]
        return [constrain(x, ("act_batch", "act_len")) for x in (*longer, *blocks)]

    rows = np.arange(1, 2 * length + 1).reshape(2, length)
    mesh = make_mesh(MeshConfig(1, 1, 1, context), jax.devices()[:context])
    with jax.set_mesh(mesh):
        found = jax.jit(fillings)(jnp.asarray(rows))
    for x, value in zip(found, (0, 99, rows[:, -1:], -1, 5), strict=True):
        np.testing.assert_array_equal(x[:, :length], rows)
        np.testing.assert_array_equal(x[:, length:], np.broadcast_to(value, (2, 16 - length)))


def test_nothing_pads_an_array_of_a_device_with_a_value_of_its_own():
    """But zeros are one value for all: others are put in afterwards, by `lengthen`."""
    pads = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("jnp.pad", "jax.lax.pad"):
                assert len(node.args) == 2 and not node.keywords, f"{path}: {ast.unparse(node)}"
                pads += 1
    assert pads, "the names of the functions that pad are others now"
