"""Process 0's word to all processes of a job, so that each makes the same calls of its engine."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

HEAD, SHORT = 9, 503  # bytes before a message, and those of it that come with them
STOP, GENERATE = "stop", "generate"  # what all do next; an object is a change of weights
END = "end"  # of the requests of one `generate`


class Orders:
    """What process 0 tells, in turn; every process must call `tell` as often.

    Args:
      on_wish: called on process 0, once, when a process wishes that all end.
    """

    def __init__(self, on_wish: Callable[[], None] = lambda: None):
        self._on_wish, self._wishes, self._granted = on_wish, False, False
        self.several = jax.process_count() > 1

    def wish_end(self) -> None:
        """Asks process 0, with the next order, to end."""
        self._wishes = True

    def tell(self, value: Any = None) -> Any:
        """Process 0's value, which JSON can hold, on every process."""
        if not self.several:
            return value
        data = json.dumps(value).encode() if jax.process_index() == 0 else b""
        first = np.zeros(HEAD + SHORT, np.uint8)
        first[:8] = np.frombuffer(len(data).to_bytes(8, "little"), np.uint8)
        first[8] = self._wishes
        first[HEAD : HEAD + len(data)] = np.frombuffer(data[:SHORT], np.uint8)
        all_first = np.asarray(multihost_utils.process_allgather(first))
        self._grant(bool(all_first[:, 8].any()))
        length = int.from_bytes(all_first[0, :8].tobytes(), "little")
        told = all_first[0, HEAD : HEAD + length].tobytes()
        return json.loads(told if length <= SHORT else told + _rest(data, length))

    def cancelling(self, cancelled: Callable[[], list[str]] = list) -> dict[str, Callable]:
        """Arguments of `Engine.generate` by which all processes end the same requests after the same dispatch.

        Args:
          cancelled: ids of those that nobody wants any more; process 0's counts.
        """
        told: set[str] = set()

        def check() -> None:
            told.clear()
            told.update(self.tell(cancelled()))

        return {"check": check, "cancelled": told.__contains__}

    def _grant(self, wished: bool) -> None:
        if wished and not self._granted and jax.process_index() == 0:
            self._granted = True
            self._on_wish()


def _rest(data: bytes, length: int) -> bytes:
    """What of a long message did not come with its head."""
    size = length - SHORT
    buffer = np.zeros(1 << size.bit_length(), np.uint8)  # few sizes, so few compilations
    if data:
        buffer[:size] = np.frombuffer(data[SHORT:], np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(buffer))[:size].tobytes()
