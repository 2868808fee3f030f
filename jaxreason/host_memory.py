"""Memory of a host that computes itself: kept by the process between two runs of a program, not given back.

XLA takes a program's temporary memory anew for every run, gigabytes for a training step. By default glibc returns so
large a piece to the system at once, and the next run pays for each of its pages again: a fifth of a step of SmolLM2.
"""

import ctypes
import importlib.util
import os

# Parameters of mallopt (glibc's malloc.h): never trim the heap, take nothing by mmap, one heap for all threads, since
# what is too large for a thread's own heap is always taken by mmap.
SETTINGS = {-1: -1, -4: 0, -8: 1}
ACCELERATORS = ("libtpu", "jax_plugins")


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed, where JAX will compute on the CPU; call it before JAX starts.

    Returns whether it was done: not where there is another C library, nor where GLIBC_TUNABLES says what its user
    wants.
    """
    if not computes_on_cpu(os.environ.get("JAX_PLATFORMS", "")) or "GLIBC_TUNABLES" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(*item) == 1 for item in SETTINGS.items()])


def computes_on_cpu(platforms: str) -> bool:
    """Whether `platforms`, as JAX_PLATFORMS, says so, or says nothing and JAX has nothing else installed."""
    if platforms:
        return platforms == "cpu"
    return not any(importlib.util.find_spec(name) for name in ACCELERATORS)
