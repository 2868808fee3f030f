"""How this process treats its memory: it keeps what XLA frees, and looks for no garbage during a start.

On hosts that compute with their CPU, XLA allocates a program's temporary memory again for every run: gigabytes for a
training step. By default glibc returns such a large piece to the system at once, and the next run pays for each of its
pages again: a fifth of a step of SmolLM2.

Linux can give large pages, 2 MB instead of 4 kB. Gigabytes then cost few page faults, and the processor finds them
faster. Most distributions give them only to a program that asks.

A freed piece may not fit again, since small ones were put around it. Then the heap grows by another one. If memory runs
short, the heap's holes are given back (with glibc from 2.33 on).
"""

import contextlib
import ctypes
import functools
import gc
import importlib.util
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

# Parameters of mallopt (glibc's malloc.h): never trim the heap, take nothing by mmap, and use one heap for all threads,
# because what is too large for a thread's own heap is always taken by mmap.
SETTINGS = {-1: -1, -4: 0, -8: 1}
HUGE_PAGES = 14  # MADV_HUGEPAGE of madvise(2)
HUGE_PAGE = 1 << 21  # bytes
# `malloc_trim` keeps so many bytes at the heap's end: more than there are, so it is never cut.
UNCUT = 1 << 60
PERIOD = 0.5  # seconds between two looks at the memory
LEAST = 1 << 28  # bytes of holes that are worth giving back
MEMINFO = "/proc/meminfo"
GROUPS, OWN_GROUP = "/sys/fs/cgroup", "/proc/self/cgroup"
OVERCOMMIT = "/proc/sys/vm/overcommit_memory"
_FROZEN: list[bool] = []  # Not empty: this process is the program's own and has frozen its objects.
ACCELERATORS = ("libtpu", "jax_plugins")


@functools.cache
def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed, in large pages, if JAX will compute on the CPU; call it before JAX starts.

    Returns whether it was done. It is not with another C library, nor if the user has set GLIBC_TUNABLES or a variable
    of malloc's (MALLOC_ARENA_MAX and others). A second call does nothing.
    """
    own = any(x == "GLIBC_TUNABLES" or x.startswith("MALLOC_") for x in os.environ)
    if own or not computes_on_cpu(os.environ.get("JAX_PLATFORMS", "")):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not all([libc.mallopt(*x) == 1 for x in SETTINGS.items()]):
        return False
    if not _addresses_are_limited():
        _ask_for_large_pages(libc)
    if hasattr(libc, "mallinfo2") and Path(MEMINFO).exists():
        threading.Thread(target=_give_back, args=[libc], name="memory", daemon=True).start()
    return True


def _ask_for_large_pages(libc: ctypes.CDLL) -> None:
    """Grows the heap by nearly as many addresses as the machine has memory, and asks for large pages in them.

    Nothing is written, so no memory is taken. As the heap never shrinks, later allocations lie there. One thing becomes
    dearer: an array of zeros (`np.zeros`) is written when it is made, not when it is used.
    """
    libc.malloc.restype = ctypes.c_void_p
    # Linux refuses one request for more than memory and swap.
    size = _memory() // 16 * 15
    start = libc.malloc(ctypes.c_size_t(size))
    if start:
        first = -(-start // HUGE_PAGE) * HUGE_PAGE
        length = (start + size - first) // HUGE_PAGE * HUGE_PAGE
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), HUGE_PAGES)
        libc.free(ctypes.c_void_p(start))


def _addresses_are_limited() -> bool:
    """Whether the system counts addresses as memory (mode 2 of overcommit_memory), or the user limits them (ulimit)."""
    import resource  # only where there is glibc

    limits = (resource.getrlimit(x)[0] for x in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    if any(limit != resource.RLIM_INFINITY for limit in limits):
        return True
    try:
        return Path(OVERCOMMIT).read_text().strip() == "2"
    except OSError:
        return True  # It does not say.


class _HeapSizes(ctypes.Structure):
    """What `mallinfo2` returns (malloc.h): of interest are the bytes in use, free, and free at the end."""

    _fields_ = [(f"other_{number}", ctypes.c_size_t) for number in range(7)]
    _fields_ += [(name, ctypes.c_size_t) for name in ("used", "free", "free_at_end")]


def _give_back(libc: ctypes.CDLL) -> None:
    """Gives back the heap's holes when they are four times as large as the memory that is left."""
    libc.mallinfo2.restype = _HeapSizes
    given = 0
    while True:
        time.sleep(PERIOD)
        # Files may be refused for a while, by a limit on open ones for example; then the next look counts.
        with contextlib.suppress(OSError, ValueError, KeyError, MemoryError):
            given = _look(libc, given)


def _look(libc: ctypes.CDLL, given: int) -> int:
    """Looks once. Takes and returns the bytes of holes that have no memory any more, as far as is known."""
    most, own = max(LEAST, 4 * available_memory()), _own_memory()
    # Without a shortage the heap is not asked, whose sizes take long to add up. Then holes may be filled again, so the
    # next shortage begins anew.
    if own <= most:
        return 0
    unused = _unused(libc, own)
    if unused - given <= most:
        return min(given, unused)
    libc.malloc_trim(ctypes.c_size_t(UNCUT))
    return _unused(libc, _own_memory())


def _own_memory() -> int:
    """Bytes of this process that no file has."""
    _, resident, shared = (int(x) for x in Path("/proc/self/statm").read_text().split()[:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def _unused(libc: ctypes.CDLL, own: int) -> int:
    """Bytes that lie free between used pieces of the heap, at most as many as this process has beside what it uses."""
    heap = libc.mallinfo2()
    return _with_memory(heap.free - heap.free_at_end, heap, own)


def _with_memory(free: int, heap: _HeapSizes, own: int) -> int:
    """Of free bytes of the heap those that have memory: pieces that were never written, free or in use, have none."""
    return max(0, min(free, own - heap.used))


def available_memory() -> int:
    """Bytes that the machine, and this process's control groups (version 2), still have for it."""
    return min([_numbers(MEMINFO)["MemAvailable:"] << 10, *_left_to_groups()])


def room_left(enough: float = math.inf) -> int | None:
    """Bytes that this process can still fill: what it holds unused, what the host has left, and free swap.

    None where the system does not tell, as outside Linux. If the host and swap have `enough`, what the process holds
    unused is not added, since the heap's sizes take long to add up.
    """
    libc = ctypes.CDLL(None)
    try:
        left = available_memory() + (_numbers(MEMINFO).get("SwapFree:", 0) << 10)
        if left >= enough or not hasattr(libc, "mallinfo2"):
            return left
        libc.mallinfo2.restype = _HeapSizes
        heap = libc.mallinfo2()
        return left + _with_memory(heap.free, heap, _own_memory())
    except (OSError, ValueError, KeyError):
        return None


def _left_to_groups() -> Iterator[int]:
    names = (line.strip() for line in Path(OWN_GROUP).read_text().splitlines())
    own = next((name.removeprefix("0::/") for name in names if name.startswith("0::/")), None)
    if own is None:
        return
    folder = Path(GROUPS) / own
    for group in (folder, *folder.parents):
        limit = (group / "memory.max").read_text() if (group / "memory.max").exists() else "max"
        if limit.strip() != "max":
            # Files that were read some time ago count as used, but make room.
            files = _numbers(str(group / "memory.stat"))["inactive_file"]
            yield int(limit) - int((group / "memory.current").read_text()) + files


def _numbers(path: str) -> dict[str, int]:
    """The numbers of a file whose lines are a name, a number and perhaps a unit."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {name: int(number) for name, number, *_ in lines}


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
        # Not by `gc.get_freeze_count`: Python 3.12 begins with some objects frozen.
        if freeze:
            _FROZEN.append(True)
        if _FROZEN:
            gc.freeze()
        if enabled:
            gc.enable()
