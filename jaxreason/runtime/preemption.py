"""SIGTERM and SIGINT as a flag that stages read where it is safe to end: save, say so, exit with 143.

An exception raised by a signal wherever it comes may be swallowed (by a callback of JAX, say); a flag is not.
"""

import os
import signal
from types import FrameType
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

EXIT_CODE = 143  # 128 + SIGTERM, for either signal


class Interrupt:
    """While it is entered, the first signal sets a flag and a second acts as it always did.

    One that is entered within another shares its flag, so that a study ends when one of its stages was told to.
    """

    def __init__(self):
        self._received: list[str] = []  # shared with those entered within this one
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if isinstance(outer, Interrupt):
            self._received = outer._received
            return self
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received:
            self._restore()
            os.kill(os.getpid(), number)
        self._received.append(signal.Signals(number).name)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def requested(self, agree: bool = True) -> bool:
        """Whether to stop now.

        With several processes they must stop at the same place: a signal to any of them then counts where `agree`
        is true, and all processes must ask there.
        """
        mine = bool(self._received)
        if jax.process_count() == 1:
            return mine
        return agree and bool(np.any(multihost_utils.process_allgather(np.asarray(mine))))

    def check(self, saved: str) -> None:
        """Ends the program if a signal came; every process asks.

        Args:
          saved: what is on the disk, as a sentence.

        Raises:
          SystemExit: with EXIT_CODE.
        """
        if self.requested():
            self.stop(saved)

    def stop(self, saved: str) -> NoReturn:
        """Ends the program, and says what is on the disk.

        Raises:
          SystemExit: always, with EXIT_CODE.
        """
        if jax.process_index() == 0:
            cause = self._received[0] if self._received else "a signal to another process"
            print(f"Stopped by {cause}. {saved} The same command continues.", flush=True)
        raise SystemExit(EXIT_CODE)
