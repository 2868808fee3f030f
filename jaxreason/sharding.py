"""The device mesh, the table from logical axis names to mesh axes, and moving arrays between host and mesh.

Code names the axes of its arrays (`("act_batch", "act_len", "act_embed")`) and never a mesh axis. Only `RULES` and the
mesh's shape decide how a model is laid out over devices.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxreason.config import at_least, check_ranges, unclaimed
from jaxreason.errors import UserError

AXES = ("data", "fsdp", "tensor", "context")

# Weights and activations have names of their own. `embed` of a weight is split over `fsdp`, so that parameters and
# optimizer state are spread over devices. `act_embed` is not split, since every product needs all features of a token.
# `tensor` splits heads, feed-forward and vocabulary as Megatron does: one sum over devices for each pair of products.
RULES: dict[str, tuple[str, ...]] = {
    # Weights.
    "vocab": ("tensor",),
    "embed": ("fsdp",),
    "q_heads": ("tensor",),
    "kv_heads": ("tensor",),
    "head_dim": (),
    "mlp": ("tensor",),
    "layers": (),
    # Activations.
    "act_batch": ("data", "fsdp"),
    # Rows whose features are split like `embed` (over `fsdp`): a mesh axis must not split two dimensions of one array.
    "act_rows_of_features": ("data",),
    "act_len": ("context",),
    "act_embed": (),
    "act_heads": ("tensor",),
    "act_kv_heads": ("tensor",),
    "act_head_dim": (),
    "act_mlp": ("tensor",),
    "act_vocab": ("tensor",),
}


ROWS = ("act_batch",)  # Axis names of rows on their way to devices; their positions are not split.


@unclaimed("it says where")
@dataclass(frozen=True)
class MeshConfig:
    """The number of devices of each mesh axis; one of them may be -1, which means the rest."""

    data: Annotated[int, at_least(1, -1)] = 1
    """Copies of the model, each with its own rows; they exchange only gradients."""
    fsdp: Annotated[int, at_least(1, -1)] = -1
    """Devices over which parameters, gradients, optimizer state and rows are split."""
    tensor: Annotated[int, at_least(1, -1)] = 1
    """Devices over which heads and the MLP are split."""
    context: Annotated[int, at_least(1, -1)] = 1
    """Devices over which the tokens of a row are split."""


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes the mesh of `config` over `devices` (if None, all devices of all processes).

    Raises:
      ValueError: two axes are -1, an axis is neither positive nor -1, or the sizes do not match the devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = asdict(config)
    check_ranges(config, "mesh")
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) > 1:
        raise UserError(
            f"mesh: {' and '.join(free)} are both -1; only one axis can take the rest of the devices."
        )
    fixed = math.prod(size for size in sizes.values() if size != -1)
    shown = ", ".join(f"{name}={size}" for name, size in sizes.items())
    if free:
        if len(devices) % fixed:
            raise UserError(
                f"mesh.{free[0]}: {len(devices)} devices do not divide by {fixed}, the other axes' product ({shown})."
            )
        sizes[free[0]] = len(devices) // fixed
    elif fixed != len(devices):
        raise UserError(
            f"mesh: {shown} make {fixed} devices, but there are {len(devices)}; set one axis to -1."
        )
    shape, types = tuple(sizes[a] for a in AXES), (AxisType.Auto,) * len(AXES)
    num_slices = len({getattr(device, "slice_index", 0) or 0 for device in devices})
    if num_slices > 1:
        return Mesh(_hybrid_devices(sizes, devices, num_slices), AXES, axis_types=types)
    try:
        return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)
    except NotImplementedError:  # An axis is part of one axis of the torus, such as 8 of 4 x 4.
        placed = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
        return Mesh(placed, AXES, axis_types=types)


def _hybrid_devices(sizes: dict[str, int], devices: Sequence[jax.Device], num_slices: int):
    """Arranges the devices of several slices in an array in which only the axis `data` crosses slices."""
    if sizes["data"] % num_slices:
        shown = ", ".join(f"{name}={size}" for name, size in sizes.items())
        raise UserError(
            f"mesh.data={sizes['data']}: the devices are {num_slices} slices, which only the axis `data` can join "
            f"({shown}); expected a multiple of {num_slices}, nearest: {num_slices}."
        )
    inside = (sizes["data"] // num_slices, *(sizes[axis] for axis in AXES[1:]))
    across = (num_slices, *(1 for _ in AXES[1:]))
    try:
        return mesh_utils.create_hybrid_device_mesh(inside, across, devices)
    except NotImplementedError:
        return mesh_utils.create_hybrid_device_mesh(
            inside, across, devices, allow_split_physical_axes=True
        )


def spec(names: Sequence[str | None]) -> PartitionSpec:
    """Returns the partition of an array whose dimensions have these logical names (None: not split)."""
    return PartitionSpec(*(_mesh_axes(name) or None for name in names))


def _mesh_axes(name: str | None) -> tuple[str, ...]:
    return () if name is None else RULES[name]


def fitting_spec(
    mesh: Mesh | jax.sharding.AbstractMesh, names: Sequence[str | None], shape: Sequence[int]
) -> PartitionSpec:
    """Like `spec`, but dimensions that their mesh axes do not divide are not split (3 kv heads on 2 tensor devices)."""
    assert len(names) == len(shape), f"names {names} for shape {tuple(shape)}"

    # JAX refuses arrays that are split unevenly.
    def fit(name, size):
        axes = _mesh_axes(name)
        return axes if axes and size % math.prod(mesh.shape[axis] for axis in axes) == 0 else None

    return PartitionSpec(*(fit(name, size) for name, size in zip(names, shape, strict=True)))


def heads_spec(
    mesh: Mesh | jax.sharding.AbstractMesh, heads: int, kv_heads: int
) -> tuple[str, ...] | str | None:
    """Returns the mesh axes over which attention may split heads so that each has its own keys; None if none may."""
    # If only one of the two could be split, a device would have queries whose keys are
    # elsewhere. Then neither is split.
    queries, keys = (
        fitting_spec(mesh, (name,), (number,))[0]
        for name, number in (("act_heads", heads), ("act_kv_heads", kv_heads))
    )
    return queries if queries == keys else None


def constrain(x: jax.Array, names: Sequence[str | None]) -> jax.Array:
    """Fixes the layout of `x` inside jit; does nothing if no mesh is set or it has one device."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, fitting_spec(mesh, names, x.shape))


def num_parts(mesh: Mesh | jax.sharding.AbstractMesh, name: str) -> int:
    """Returns the number of parts into which `mesh` splits dimensions of this name."""
    return math.prod(mesh.shape[axis] for axis in RULES[name])


def axis_size(name: str) -> int:
    """Returns the number of parts into which the current mesh splits dimensions of this name; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else num_parts(mesh, name)


def platform() -> str:
    """Returns the platform of the program being traced ("tpu", "gpu", "cpu"): the mesh's, else the default devices'."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def tree_shardings(mesh: Mesh, axes_tree: Any, abstract_tree: Any = None) -> Any:
    """Returns the sharding of every leaf of a tree of logical axis tuples.

    Args:
      mesh: the device mesh.
      axes_tree: a tree whose leaves are tuples of logical names.
      abstract_tree: the same tree with shapes. With it, dimensions that the mesh does not divide are not split.
    """
    if abstract_tree is None:
        return jax.tree.map(
            lambda names: NamedSharding(mesh, spec(names)), axes_tree, is_leaf=_is_names
        )
    return jax.tree.map(
        lambda names, x: NamedSharding(mesh, fitting_spec(mesh, names, x.shape)),
        axes_tree,
        abstract_tree,
        is_leaf=_is_names,
    )


def unstacked(sharding: jax.sharding.Sharding) -> jax.sharding.Sharding:
    """Returns the sharding of one entry of the first dimension, which is not split: of one layer of stacked ones."""
    if not isinstance(sharding, NamedSharding):
        return sharding
    assert not sharding.spec or sharding.spec[0] is None, f"split over layers: {sharding.spec}"
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))


def abstract_arrays(shapes: Any, shardings: Any) -> Any:
    """Returns the tree `shapes` as ShapeDtypeStructs with shardings."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def abstract_rows(
    mesh: Mesh, shape: tuple[int, ...], dtype: Any, names: Sequence[str | None] = ROWS
) -> jax.ShapeDtypeStruct:
    """Returns an abstract array [rows, ...] as `place_rows` lays it out, or split along further dimensions."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, spec(names)))


def bytes_on_device(tree: Any) -> int:
    """Returns the bytes of a tree of arrays (or abstract ones with shardings) on one device."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * np.dtype(x.dtype).itemsize
        for x in jax.tree.leaves(tree)
    )


def _is_names(node: Any) -> bool:
    return type(node) is tuple and all(name is None or isinstance(name, str) for name in node)


def row_block(mesh: Mesh) -> tuple[int, int]:
    """Returns the block of rows that this process holds: `(index, count)`, as `PackedBatches` and `place_rows` take it.

    Processes share rows if `tensor` or `context` runs across them; they then have the same block.

    Raises:
      ValueError: the devices of a process do not hold one contiguous block.
    """
    parts = _row_parts(mesh)
    me = jax.process_index()
    mine = sorted({part for device, part in parts.items() if device.process_index == me})
    total, size = len(set(parts.values())), len(mine)
    if mine != list(range(mine[0], mine[0] + size)) or mine[0] % size or total % size:
        raise UserError(
            f"mesh: process {me} would hold the parts {mine} of the {total} that "
            "rows are cut into; expected one contiguous block. Change the sizes of the mesh axes."
        )
    return mine[0] // size, total // size


def _row_parts(mesh: Mesh) -> dict[jax.Device, int]:
    """Returns the part of the rows that each device holds, numbered in order."""
    places = NamedSharding(mesh, spec(ROWS)).devices_indices_map((num_parts(mesh, *ROWS),))
    return {device: index[0].start or 0 for device, index in places.items()}


def place_rows(mesh: Mesh, rows: Any, block: tuple[int, int] = (0, 1)) -> Any:
    """Turns a tree of host arrays [rows, ...] into global arrays, split by rows. Host rows reach devices only this way.

    Args:
      mesh: the target.
      rows: numpy arrays of this process.
      block: which of all rows these are, `(index, count)`: all rows, the same on every process, or
        those of `row_block(mesh)`.

    Raises:
      ValueError: the rows of all processes do not divide over the mesh.
    """
    sharding, parts = NamedSharding(mesh, spec(ROWS)), num_parts(mesh, *ROWS)

    def place(x: np.ndarray) -> jax.Array:
        total, first = len(x) * block[1], len(x) * block[0]
        if total % parts:
            raise UserError(f"{total} rows do not divide over the {parts} parts of the mesh.")

        def part(where: tuple[slice, ...]) -> np.ndarray:
            start, stop, _ = where[0].indices(total)
            assert first <= start and stop <= first + len(x), "rows of another process"
            return x[start - first : stop - first]

        return jax.make_array_from_callback((total, *x.shape[1:]), sharding, part)

    return jax.tree.map(place, rows)


def check_rows(mesh: Mesh, rows: int, field: str) -> None:
    """Refuses, before anything is compiled, a number of rows that the mesh cannot split.

    Raises:
      ValueError: names the field of the recipe and the nearest number that fits.
    """
    parts = num_parts(mesh, *ROWS)
    if rows < 1 or rows % parts:
        raise UserError(
            f"{field}={rows}: expected a multiple of {parts}, since the mesh cuts rows into {parts} parts; "
            f"nearest: {max(round(rows / parts), 1) * parts}."
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of arrays that the host reads: whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def to_host(x: Any) -> Any:
    """Returns every array of the tree whole, as numpy, on every process. All processes must call it."""
    if jax.process_count() == 1:
        return jax.device_get(x)
    return jax.tree.map(_array_to_host, x)


def _array_to_host(x: Any) -> np.ndarray:
    if isinstance(x, jax.Array) and not x.is_fully_addressable and not x.is_fully_replicated:
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def gather_texts(text: str) -> list[str]:
    """Returns the texts of all processes, in their order, on every process. All processes must call it."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    lengths = np.atleast_1d(multihost_utils.process_allgather(np.int32(data.size)))
    padded = np.zeros(max(int(lengths.max()), 1), np.uint8)
    padded[: data.size] = data
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:n].tobytes().decode() for row, n in zip(rows, lengths, strict=True)]


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """Returns leaves by path (`layers.mlp.up_proj.kernel`), in the order of the tree.

    Keys and attributes are treated alike: a NamedTuple is like a dict of its fields.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
