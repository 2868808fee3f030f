"""From the rows that a process makes to one batch over all devices of the mesh."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jaxreason.errors import UserError
from jaxreason.sharding import num_parts, spec

ROWS = ("act_batch",)


def row_block(mesh: Mesh) -> tuple[int, int]:
    """Which block of rows this process holds: `(index, count)`, as `PackedBatches` takes them.

    Processes that share rows, because a tensor axis runs across them, have the same block.

    Raises:
      ValueError: the devices of a process do not hold one contiguous block.
    """
    parts = _parts(mesh)
    mine = sorted({part for device, part in parts.items() if _is_mine(device)})
    total, size = len(set(parts.values())), len(mine)
    if mine != list(range(mine[0], mine[0] + size)) or mine[0] % size or total % size:
        raise UserError(
            f"mesh: process {jax.process_index()} would hold the parts {mine} of the {total} that "
            "rows are cut into; expected one contiguous block. Change the sizes of the mesh axes."
        )
    return mine[0] // size, total // size


def to_devices(mesh: Mesh, rows: Any) -> Any:
    """A tree of this process's [rows, ...] arrays as global arrays, cut by rows.

    Raises:
      ValueError: the rows of all processes do not divide over the mesh.
    """
    sharding = NamedSharding(mesh, spec(ROWS))
    count = row_block(mesh)[1]

    def place(x: np.ndarray) -> jax.Array:
        shape = (x.shape[0] * count, *x.shape[1:])
        return jax.make_array_from_process_local_data(sharding, x, shape)

    return jax.tree.map(place, rows)


def check_rows(mesh: Mesh, batch_size: int, num_micro_batches: int, where: str) -> None:
    """Refuses, before anything is compiled, a batch that cannot be cut as asked.

    Raises:
      ValueError: with the section of the recipe, `where`, and the nearest size that fits.
    """
    parts = num_parts(mesh, "act_batch")
    unit = parts * num_micro_batches
    if batch_size < 1 or num_micro_batches < 1 or batch_size % unit:
        fitting = max(round(batch_size / max(unit, 1)), 1) * unit
        raise UserError(
            f"{where}.batch_size={batch_size}: expected a multiple of {unit}, since the mesh cuts "
            f"rows into {parts} parts and num_micro_batches is {num_micro_batches}; "
            f"nearest: {fitting}."
        )


def _parts(mesh: Mesh) -> dict[jax.Device, int]:
    """The part of the rows that each device holds, numbered in order."""
    starts = {}
    sharding = NamedSharding(mesh, spec(ROWS))
    for device, index in sharding.devices_indices_map((mesh.size,)).items():
        starts[device] = index[0].start or 0
    numbers = {start: number for number, start in enumerate(sorted(set(starts.values())))}
    return {device: numbers[start] for device, start in starts.items()}


def _is_mine(device: jax.Device) -> bool:
    return device.process_index == jax.process_index()
