"""Rows of processes as one global batch."""

import jax
import numpy as np
import pytest
from processes import run_processes

from jaxreason.sharding import MeshConfig, make_mesh, num_parts
from jaxreason.training.feed import check_rows, row_block, to_devices


@pytest.mark.parametrize(
    ("sizes", "parts"), [((1, 8, 1, 1), 8), ((2, 2, 2, 1), 4), ((1, 1, 8, 1), 1), ((4, 2, 1, 1), 8)]
)
def test_one_process_holds_all_rows_and_each_part_of_the_mesh_its_share(sizes, parts):
    mesh = make_mesh(MeshConfig(*sizes))
    rows = np.arange(16 * 3).reshape(16, 3)
    assert num_parts(mesh, "act_batch") == parts and row_block(mesh) == (0, 1)
    placed = to_devices(mesh, {"tokens": rows})["tokens"]
    np.testing.assert_array_equal(placed, rows)
    assert {shard.data.shape for shard in placed.addressable_shards} == {(16 // parts, 3)}


def test_a_batch_that_cannot_be_cut_is_refused_with_the_nearest_size_that_fits():
    mesh = make_mesh(MeshConfig(2, 2, 2, 1))
    check_rows(mesh, 24, 2, "sft")
    with pytest.raises(ValueError, match=r"sft.batch_size=20: .* multiple of 8.*nearest: 16"):
        check_rows(mesh, 20, 2, "sft")


def blocks_and_sums(sizes):
    mesh = make_mesh(MeshConfig(*sizes))
    index, count = row_block(mesh)
    all_rows = np.arange(8, dtype=np.float32)
    mine = all_rows[index * (8 // count) : (index + 1) * (8 // count)]
    placed = to_devices(mesh, mine)
    weighted = jax.jit(lambda x: (x * np.arange(8)).sum())(placed)
    return [index, count, float(weighted)]


@pytest.mark.parametrize(
    ("sizes", "blocks"), [((1, 4, 1, 1), [[0, 2], [1, 2]]), ((1, 1, 4, 1), [[0, 1], [0, 1]])]
)
def test_processes_that_a_tensor_axis_joins_share_their_rows(sizes, blocks):
    found = run_processes(blocks_and_sums, 2, sizes, num_devices=2)
    expected = float((np.arange(8) ** 2).sum())
    assert found == [[*block, expected] for block in blocks]
