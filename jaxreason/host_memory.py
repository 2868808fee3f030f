"""How this process treats its memory: it keeps what XLA frees, and looks for no garbage during a start.

On hosts that compute with their CPU, XLA allocates a program's temporary memory again for every run: gigabytes for a
training step. By default glibc returns such a large piece to the system at once, and the next run pays for each of its
pages again: a fifth of a step of SmolLM2.

Linux can give large pages, 2 MB instead of 4 kB. Gigabytes then cost few page faults, and the processor finds them
faster. Most distributions give them only to a program that asks.
"""

import contextlib
import ctypes
import gc
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

# Parameters of mallopt (glibc's malloc.h): never trim the heap, take nothing by mmap, and use one heap for all threads,
# because what is too large for a thread's own heap is always taken by mmap.
SETTINGS = {-1: -1, -4: 0, -8: 1}
HUGE_PAGES = 14  # MADV_HUGEPAGE of madvise(2)
HUGE_PAGE = 1 << 21  # bytes
OVERCOMMIT = "/proc/sys/vm/overcommit_memory"
ACCELERATORS = ("libtpu", "jax_plugins")


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed, in large pages, if JAX will compute on the CPU; call it before JAX starts.

    Returns whether it was done. It is not with another C library, nor if the user has set GLIBC_TUNABLES.
    """
    if not computes_on_cpu(os.environ.get("JAX_PLATFORMS", "")) or "GLIBC_TUNABLES" in os.environ:
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not all([libc.mallopt(*x) == 1 for x in SETTINGS.items()]):
        return False
    _ask_for_large_pages(libc)
    return True


def _ask_for_large_pages(libc: ctypes.CDLL) -> None:
    """Grows the heap by nearly as many addresses as the machine has memory, and asks for large pages in them.

    Nothing is written, so no memory is taken. As the heap never shrinks, later allocations lie there. Where the system
    counts addresses as memory (mode 2 of overcommit_memory) or limits them, the heap keeps small pages.
    """
    if _counts_addresses():
        return
    libc.malloc.restype = ctypes.c_void_p
    # Linux refuses more than all of it at a time.
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 16 * 15
    start = libc.malloc(ctypes.c_size_t(size))
    if start:
        first = -(-start // HUGE_PAGE) * HUGE_PAGE
        length = (start + size - first) // HUGE_PAGE * HUGE_PAGE
        # A kernel without large pages refuses; nothing is lost then.
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), HUGE_PAGES)
        libc.free(ctypes.c_void_p(start))


def _counts_addresses() -> bool:
    try:
        return Path(OVERCOMMIT).read_text().strip() == "2"
    except OSError:
        return True  # not Linux, or it does not say


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
