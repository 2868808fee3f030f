"""Copies stored tensors into the arrays of parameters: casts them, and transposes matrices at the speed of memory.

numpy transposes a large matrix element by element, and nearly each one costs a miss of the cache: 0.3 GB/s. Here a few
rows at a time are copied to a small buffer first, whose rows lie a little further apart than a power of two, and are
transposed from there.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

_ROWS = 32  # At a time: 64 bytes of a column in 16 bits, which is a line of the cache.
_TURN = 1e-4  # Seconds.
_LOCK = threading.Lock()
# One entry for each `short_turns` that is open. The first is how long turns were before any of them.
_OPEN: list[float] = []


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """While one is open, in any thread, Python's threads take turns of 0.1 ms rather than 5 ms.

    Reading weights takes many short steps of numpy, and each of them gives up Python's lock and asks for it again. If
    another thread works in Python at the same time, as tracing does at a start, each step waits for the end of that
    thread's turn: 3.4 GB took 90 s instead of 0.5 to 1.2 s, and take 1.5 to 1.8 s with short turns (2 cores).
    """
    with _LOCK:
        _OPEN.append(sys.getswitchinterval())
        sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        with _LOCK:
            before = _OPEN.pop()
            if not _OPEN:
                sys.setswitchinterval(before)


def copy_into(out: Shaped[np.ndarray, "..."], stored: Shaped[np.ndarray, "..."]) -> None:
    """Writes `stored` into `out`, in the dtype of `out`; two-dimensional views of any order are copied fast."""
    if stored.ndim == 2 and stored.strides[0] < stored.strides[1] and out.flags.c_contiguous:
        _copy_transposed(out, stored.T)
    else:
        out[...] = stored


def _copy_transposed(out: Shaped[np.ndarray, "C R"], stored: Shaped[np.ndarray, "R C"]) -> None:
    rows, columns = stored.shape
    buffer = np.empty((min(_ROWS, rows), columns + 32), out.dtype)[:, :columns]
    plain = np.dtype(f"u{out.itemsize}")  # Bits, which numpy copies without its lock.
    for start in range(0, rows, _ROWS):
        part = buffer[: min(_ROWS, rows - start)]
        part[...] = stored[start : start + _ROWS]
        out.view(plain)[:, start : start + _ROWS] = part.view(plain).T
