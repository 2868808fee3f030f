"""Refuses what the host's memory cannot hold, where programs run on the CPU.

The memory of an accelerator has an allocator that refuses what does not fit. Linux promises more memory than there is,
and later ends the process without a word.
"""

import math
from typing import Any

import jax
import numpy as np

from jaxreason.host_memory import room_left

GIB = 2**30


def check_room(needed: int, what: str) -> None:
    """Does nothing on an accelerator, or where the system does not tell how much memory it has left.

    Args:
      needed: bytes that this process is about to fill.
      what: what they are for, the subject of "needs" in the message.

    Raises:
      MemoryError: the host has fewer bytes left, swap included.
    """
    left = room_left() if jax.default_backend() == "cpu" else None
    if left is not None and needed > left:
        raise MemoryError(
            f"{what} needs {needed / GIB:.1f} GiB, and this host has {left / GIB:.1f} GiB left."
        )


def held_bytes(tree: Any) -> int:
    """Returns the bytes of a tree of arrays, or of abstract ones with shardings, on all devices of this process."""
    return sum(_held(x) for x in jax.tree.leaves(tree))


def _held(x: Any) -> int:
    parts = len(x.sharding.addressable_devices) * math.prod(x.sharding.shard_shape(x.shape))
    return parts * np.dtype(x.dtype).itemsize


def temporary_bytes(compiled: Any, num_devices: int) -> int:
    """Returns the bytes that a run of a compiled program takes beside its arguments, on so many devices."""
    stats = compiled.memory_analysis()
    if stats is None:
        return 0
    results = stats.output_size_in_bytes - stats.alias_size_in_bytes
    return num_devices * (stats.temp_size_in_bytes + results)
