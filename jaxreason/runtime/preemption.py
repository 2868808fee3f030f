"""Turns SIGTERM and SIGINT into a flag. A stage reads it where it can end safely: it saves, says so and exits with 143.

A signal handler that raised an exception would do so at any place, where for example a callback of JAX may swallow it.
A flag cannot be lost like that.
"""

import os
import signal
from types import FrameType
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

EXIT_CODE = 143  # 128 + SIGTERM; used for both signals.


class Interrupt:
    """A context manager: inside it the first signal sets a flag, and a second signal acts as it did before.

    An inner one shares the flag of the outer one, so that a study ends when one of its stages was told to end.
    """

    def __init__(self):
        self._received: list[str] = []  # Shared with those entered within this one.
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

        Several processes must all stop at the same place. With several, a signal to any of them counts, but only in a
        call with `agree` true, and every process must make that call.
        """
        mine = bool(self._received)
        if jax.process_count() == 1:
            return mine
        return agree and bool(np.any(multihost_utils.process_allgather(np.asarray(mine))))

    def check(self, saved: str) -> None:
        """Ends the program if a signal has arrived. Every process must call it.

        Args:
          saved: a sentence that says what has been saved.

        Raises:
          SystemExit: with EXIT_CODE.
        """
        if self.requested():
            self.stop(saved)

    def stop(self, saved: str) -> NoReturn:
        """Prints what has been saved and ends the program.

        Raises:
          SystemExit: always, with EXIT_CODE.
        """
        if jax.process_index() == 0:
            cause = self._received[0] if self._received else "a signal to another process"
            print(f"Stopped by {cause}. {saved} The same command continues.", flush=True)
        raise SystemExit(EXIT_CODE)
