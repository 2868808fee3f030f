"""SIGTERM and SIGINT as a flag that a loop reads between two steps: save, say so, exit with 143."""

import signal
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

EXIT_CODE = 143  # 128 + SIGTERM, for either signal


class Interrupt:
    """While it is entered, the first signal sets a flag and a second acts as it always did."""

    def __init__(self):
        self._received: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def requested(self, agree: bool) -> bool:
        """Whether to stop now.

        With several processes they must stop at the same step: a signal to any of them then counts
        at the steps where `agree` is true, and all processes must ask at those.
        """
        mine = self._received is not None
        if jax.process_count() == 1:
            return mine
        return agree and bool(np.any(multihost_utils.process_allgather(np.asarray(mine))))

    def stop(self, step: int) -> None:
        """Ends the program after the loop has saved.

        Raises:
          SystemExit: always, with EXIT_CODE.
        """
        if jax.process_index() == 0:
            cause = self._received or "a signal to another process"
            print(
                f"Stopped by {cause} at step {step}, saved. The same command continues.", flush=True
            )
        raise SystemExit(EXIT_CODE)
