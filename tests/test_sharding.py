"""The mesh, the table of logical axes, and moving arrays in and out."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxreason.sharding import (
    AXES,
    RULES,
    MeshConfig,
    _hybrid_devices,
    constrain,
    fitting_spec,
    global_array,
    make_mesh,
    replicate,
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
        ((1, 0, 1, 1), "fsdp=0"),
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


def test_rows_become_one_array_over_all_devices_and_come_back():
    mesh = make_mesh(MeshConfig(2, 2, 2, 1))
    rows = np.arange(8 * 3).reshape(8, 3)
    x = global_array(mesh, rows, ("act_batch", "act_len"))
    assert x.addressable_shards[0].data.shape == (2, 3)
    np.testing.assert_array_equal(to_host({"x": x})["x"], rows)
    with pytest.raises(ValueError, match="6 rows"):
        global_array(mesh, rows[:6], ("act_batch", "act_len"))


def test_replicated_arrays_are_whole_on_every_device():
    mesh = make_mesh(MeshConfig(1, 8, 1, 1))
    tree = replicate(mesh, {"host": np.arange(3), "device": jnp.arange(4)})
    assert all(x.is_fully_replicated and len(x.addressable_shards) == 8 for x in tree.values())
    assert type(to_host(tree)["host"]) is np.ndarray


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
