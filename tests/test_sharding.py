"""The mesh, the table of logical axes, and moving arrays in and out."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from processes import run_processes

from jaxreason.errors import UserError
from jaxreason.sharding import (
    AXES,
    RULES,
    MeshConfig,
    _hybrid_devices,
    check_rows,
    constrain,
    fitting_spec,
    make_mesh,
    num_parts,
    place_rows,
    row_block,
    spec,
    to_host,
    tree_shardings,
)


def test_one_axis_takes_the_rest_of_the_devices():
    mesh = make_mesh(MeshConfig(data=1, fsdp=-1, tensor=2, context=1))
    assert dict(mesh.shape) == dict(data=1, fsdp=4, tensor=2, context=1)
    assert make_mesh(MeshConfig(1, 1, 1, -1), jax.devices()[:2]).shape["context"] == 2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, -1, 3, 1), "mesh.fsdp: 8 devices do not divide by 3"),
        ((1, 2, 2, 1), "make 4 devices, but there are 8"),
        ((-1, -1, 1, 1), "data and fsdp are both -1"),
        ((1, 0, 1, 1), "mesh.fsdp: expected at least 1, or -1, got 0"),
    ],
)
def test_sizes_that_do_not_make_up_the_devices_are_refused_with_the_field(sizes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_mesh(MeshConfig(*sizes))


def test_rules_use_mesh_axes_and_weights_and_activations_share_no_name():
    assert {axis for axes in RULES.values() for axis in axes} <= set(AXES)
    assert spec(("act_batch", "act_len", None)) == PartitionSpec(("data", "fsdp"), "context", None)
    assert spec(("layers", "embed", "mlp")) == PartitionSpec(None, "fsdp", "tensor")
    with pytest.raises(KeyError):
        spec(("no_such_name",))


def test_a_dim_that_its_devices_do_not_divide_is_left_whole():
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    names = ("act_batch", "act_kv_heads")
    assert fitting_spec(mesh, names, (8, 2)) == PartitionSpec(("data", "fsdp"), "tensor")
    assert fitting_spec(mesh, names, (8, 3)) == PartitionSpec(("data", "fsdp"), None)
    assert fitting_spec(mesh, names, (6, 2)) == PartitionSpec(None, "tensor")


def test_constrain_is_the_identity_without_a_mesh_and_pins_the_layout_with_one():
    x = jnp.ones((8, 6))
    assert constrain(x, ("act_batch", "act_mlp")) is x
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    with jax.set_mesh(mesh):
        pinned = jax.jit(lambda y: constrain(y, ("act_batch", "act_mlp")))(x)
    assert pinned.addressable_shards[0].data.shape == (2, 3)


def test_every_leaf_gets_the_sharding_of_its_names():
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    axes = {"a": ("embed", "mlp"), "b": {"c": ("head_dim",), "scalar": ()}}
    got = tree_shardings(mesh, axes)
    assert got["a"] == NamedSharding(mesh, PartitionSpec("fsdp", "tensor"))
    assert got["b"]["c"].is_fully_replicated and got["b"]["scalar"].is_fully_replicated
    shapes = jax.tree.map(
        lambda n: jnp.zeros((7,) * len(n)), axes, is_leaf=lambda n: isinstance(n, tuple)
    )
    assert tree_shardings(mesh, axes, shapes)["a"].is_fully_replicated


@pytest.mark.parametrize(
    ("sizes", "parts"), [((1, 8, 1, 1), 8), ((2, 2, 2, 1), 4), ((1, 1, 2, 4), 1), ((4, 2, 1, 1), 8)]
)
def test_one_process_holds_all_rows_and_each_part_of_the_mesh_its_share(sizes, parts):
    mesh = make_mesh(MeshConfig(*sizes))
    rows = np.arange(16 * 3).reshape(16, 3)
    assert num_parts(mesh, "act_batch") == parts and row_block(mesh) == (0, 1)
    placed = place_rows(mesh, {"tokens": rows, "lengths": rows[:, 0]})
    np.testing.assert_array_equal(to_host(placed)["tokens"], rows)
    np.testing.assert_array_equal(to_host(placed)["lengths"], rows[:, 0])
    assert {shard.data.shape for shard in placed["tokens"].addressable_shards} == {(16 // parts, 3)}


def test_rows_that_the_mesh_cannot_share_out_are_refused():
    mesh = make_mesh(MeshConfig(2, 2, 2, 1))
    with pytest.raises(UserError, match="6 rows do not divide over the 4 parts"):
        place_rows(mesh, np.zeros((6, 3)))


def test_a_batch_that_cannot_be_cut_is_refused_with_the_nearest_size_that_fits():
    mesh = make_mesh(MeshConfig(2, 2, 2, 1))
    check_rows(mesh, 24, "sft.micro_batch_rows")
    message = r"sft.micro_batch_rows=22: .* multiple of 4.*nearest: 24"
    with pytest.raises(UserError, match=message):
        check_rows(mesh, 22, "sft.micro_batch_rows")
    with pytest.raises(UserError, match="nearest: 4"):
        check_rows(mesh, 0, "sft.micro_batch_rows")


def rows_and_sums(sizes):
    """The block of rows that a process holds, and sums over all, placed from blocks and from whole arrays."""
    mesh = make_mesh(MeshConfig(*sizes))
    index, count = row_block(mesh)
    all_rows = np.arange(16, dtype=np.float32).reshape(8, 2)
    mine = np.split(all_rows, count)[index]
    placed = place_rows(mesh, mine, (index, count)), place_rows(mesh, all_rows)
    weighted = jax.jit(lambda x: (x * jnp.arange(16).reshape(8, 2)).sum())
    return [index, count, *(float(weighted(x)) for x in placed)]


@pytest.mark.parametrize(
    ("sizes", "blocks"),
    [
        ((1, 4, 1, 1), [[0, 2], [1, 2]]),
        ((1, 2, 1, 2), [[0, 2], [1, 2]]),
        ((1, 1, 4, 1), [[0, 1], [0, 1]]),
        ((1, 1, 1, 4), [[0, 1], [0, 1]]),
    ],
)
def test_processes_that_tensor_or_context_joins_share_their_rows(sizes, blocks):
    found = run_processes(rows_and_sums, 2, sizes, num_devices=2)
    expected = float((np.arange(16) ** 2).sum())
    assert found == [[*block, expected, expected] for block in blocks]


class SliceDevice:
    """As much of a device as laying out a mesh over slices asks for."""

    platform = device_kind = "cpu"

    def __init__(self, number, slice_index):
        self.id, self.slice_index, self.process_index = number, slice_index, slice_index


def test_several_slices_are_joined_by_the_data_axis_alone():
    devices = [SliceDevice(number, number // 4) for number in range(8)]
    sizes = {"data": 4, "fsdp": 2, "tensor": 1, "context": 1}
    placed = _hybrid_devices(sizes, devices, 2)
    assert placed.shape == (4, 2, 1, 1)
    slices = np.vectorize(lambda device: device.slice_index)(placed)
    assert [set(row.flat) for row in slices] == [{0}, {0}, {1}, {1}]
    assert sorted(device.id for device in placed.flat) == list(range(8))


def test_slices_that_another_axis_would_have_to_join_are_refused_with_the_nearest_size():
    devices = [SliceDevice(number, number // 4) for number in range(8)]
    with pytest.raises(ValueError, match=r"mesh.data=1: the devices are 2 slices.*nearest: 2"):
        make_mesh(MeshConfig(1, -1, 1, 1), devices)
