"""Runs Python code that a model wrote, in a jail in which it can reach nothing: see docs/code_execution.md.

A jail is a process that locks itself in (`jail_main`) and then runs one program after another, each in a fork of its
own. This module is the side outside: it starts a jail and sends requests. It trusts nothing that comes back: replies
are bytes in frames, with a size limit and a deadline, and never pickled objects.
"""

import json
import os
import select
import time
from dataclasses import dataclass
from typing import Any

from jaxreason.tasks import jail_ways
from jaxreason.tasks.jail_start import Started, start
from jaxreason.tasks.jail_values import FrameReader, dump, frame
from jaxreason.tasks.jail_ways import Isolation

START_LIMIT_S = 30.0  # On a busy machine.
SLACK_S = 5.0  # Extra time of a jail beyond that of the program in it.


@dataclass(frozen=True)
class Limits:
    """The resources that a program may use.

    Attributes:
      seconds: wall-clock time of one test.
      memory_bytes: address space of its process.
      output_bytes: a program with more output is ended and has failed.
    """

    seconds: float = 6.0
    memory_bytes: int = 2 << 30
    output_bytes: int = 16 << 20


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run.

    Attributes:
      ended: "finished", "failed" (an exception, an exit status other than 0, a signal), "timeout", "output" (too much
        of it) or "lost" (the jail itself did not answer).
      output: the printed text, or the value as JSON.
      seconds: wall-clock time.
    """

    ended: str
    output: bytes
    seconds: float


class JailError(RuntimeError):
    """A jail did not start, or did not answer in time."""


class Jail:
    """One jail; a context manager. Programs run in it one after another, each in a fresh process.

    A jail that did not answer in time is closed, so that its late answer cannot be taken for that of the next program.

    Args:
      isolation: how it is locked.
      limits: of each program.

    Raises:
      JailError: this machine cannot lock it in this way.
    """

    def __init__(self, isolation: Isolation, limits: Limits):
        self.limits = limits
        self._reader = FrameReader(limits.output_bytes + (1 << 20))
        try:
            self._started: Started | None = start(isolation)
        except OSError as error:
            raise JailError(f"{isolation.name}: {error}") from error
        sizes = limits.memory_bytes, limits.output_bytes
        asked = jail_ways.jail_settings(isolation, self._started.parent, *sizes)
        try:
            hello = self.exchange(asked, START_LIMIT_S)
            if "error" in hello:
                raise JailError(f"{isolation.name}: {hello['error']}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Jail":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends everything in the jail. Does nothing if it is already closed."""
        started, self._started = self._started, None
        if started is not None:
            started.end()
            os.close(started.writing)
            os.close(started.reading)

    def run(self, request: dict[str, Any]) -> Outcome:
        """Runs one request (see `jail_programs`), with the time limit added."""
        began, seconds = time.monotonic(), self.limits.seconds
        try:
            told = self.exchange(request | {"seconds": seconds}, seconds + SLACK_S)
            output = self._receive(time.monotonic() + SLACK_S)
            return Outcome(str(told["ended"]), output, float(told["seconds"]))
        except (JailError, KeyError, TypeError, ValueError):
            self.close()
            return Outcome("lost", b"", time.monotonic() - began)

    def exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Sends a message and returns the next one.

        Raises:
          JailError: no reply comes in time, or the reply is not a message.
        """
        deadline = time.monotonic() + seconds
        try:
            self._send(frame(dump(message)), deadline)
            told = json.loads(self._receive(deadline))
        except (ValueError, RecursionError) as error:
            self.close()
            raise JailError(f"it sent no message: {error}") from error
        except JailError:
            self.close()
            raise
        if not isinstance(told, dict):
            self.close()
            raise JailError("it sent no message")
        return told

    def _open(self) -> Started:
        if self._started is None:
            raise JailError("it was closed")
        return self._started

    def _send(self, data: bytes, deadline: float) -> None:
        view, target = memoryview(data), self._open().writing
        while view:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([], [target], [], left)[1]:
                raise JailError("it took no message in time")
            try:
                view = view[os.write(target, view[: 1 << 16]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise JailError(f"it is gone: {error}") from error

    def _receive(self, deadline: float) -> bytes:
        source = self._open().reading
        data = b""
        while True:
            found = self._reader.feed(data)
            if found is not None:
                return found
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([source], [], [], left)[0]:
                raise JailError("it sent no message in time")
            data = os.read(source, 1 << 16)
            if not data:
                raise JailError("it is gone")


def run_program(code: str, stdin: str, isolation: Isolation, limits: Limits = Limits()) -> Outcome:
    """Runs one program with one input in a jail of its own. Raises JailError if no jail can be made."""
    with Jail(isolation, limits) as jail:
        return jail.run({"kind": "stdin", "code": code, "stdin": stdin})
