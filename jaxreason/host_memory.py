"""How this process treats its memory: it keeps what XLA frees, and looks for no garbage during a start.

On hosts that compute with their CPU, XLA allocates a program's temporary memory again for every run: gigabytes for a
training step. By default glibc returns such a large piece to the system at once, and the next run pays for each of its
pages again: a fifth of a step of SmolLM2.
"""

import contextlib
import ctypes
import gc
import importlib.util
import os
from collections.abc import Iterator

# Parameters of mallopt (glibc's malloc.h): never trim the heap, take nothing by mmap, and use one heap for all threads,
# because what is too large for a thread's own heap is always taken by mmap.
SETTINGS = {-1: -1, -4: 0, -8: 1}
ACCELERATORS = ("libtpu", "jax_plugins")


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed if JAX will compute on the CPU; call it before JAX starts.

    Returns whether it was done. It is not with another C library, nor if the user has set GLIBC_TUNABLES.
    """
    if not computes_on_cpu(os.environ.get("JAX_PLATFORMS", "")) or "GLIBC_TUNABLES" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(*item) == 1 for item in SETTINGS.items()])


def computes_on_cpu(platforms: str) -> bool:
    """Whether `platforms` (as in JAX_PLATFORMS) means the CPU, or is empty and JAX has no other platform installed."""
    if platforms:
        return platforms == "cpu"
    return not any(importlib.util.find_spec(name) for name in ACCELERATORS)


@contextlib.contextmanager
def no_collection(freeze: bool = False) -> Iterator[None]:
    """Stops Python's garbage collector until the end. Of the program, it later never examines what exists by then.

    A start makes many objects that stay, by imports and by tracing, and hardly any garbage. To look for it again and
    again holds up all threads. Later it would make the parsing of a request with many small lists 15 times as long.

    Args:
      freeze: whether this process is the program's own. Its objects then stay for ever; so do those of later blocks.
        In a process of others a block leaves its objects to the collector.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze or gc.get_freeze_count():
            gc.freeze()
        if enabled:
            gc.enable()
