"""Writes `<workdir>/log.txt`: all messages of a run, and the traceback of the error that ended it."""

import contextlib
import logging
import os
import socket
import time
import traceback
from collections.abc import Sequence

from etils import epath

from jaxreason.results.atomic_files import atomic_write_bytes, is_remote
from jaxreason.results.redaction import hide

NAME = "log.txt"
SECONDS_BETWEEN_WRITES = 30.0


class LogFile(logging.Handler):
    """A log handler that appends to the log of a working directory; without a working directory it writes nothing.

    A bucket cannot append to a file. There each start has a log file of its own, `logs/<time>-<host>-<process>.txt`.
    The whole file is written again at every warning and error and at the end, and otherwise at most every
    SECONDS_BETWEEN_WRITES seconds.

    The handler makes no folder, so that a mistyped command leaves nothing behind. It keeps early messages in memory
    until the run has made its working directory. A log that cannot be written never stops a run.

    Args:
      workdir: working directory of the run, or None.
      command: the words of the command line, for the first line. Secrets are hidden everywhere in the log.
    """

    def __init__(self, workdir: epath.Path | None, command: Sequence[str] = ()):
        super().__init__(logging.INFO)
        self._folder = workdir
        started = time.strftime("%Y%m%d-%H%M%S")
        self._object = f"logs/{started}-{socket.gethostname()}-{os.getpid()}.txt"
        self._written = time.monotonic()
        self._kept = [hide(_stamped("COMMAND", " ".join(command)))]

    def attach(self) -> None:
        """Starts to receive the package's messages. Called on process 0 only."""
        log = logging.getLogger("jaxreason")
        if self not in log.handlers:
            log.addHandler(self)

    def close(self) -> None:
        """Stops receiving messages and writes those that were kept."""
        logging.getLogger("jaxreason").removeHandler(self)
        self._put("", now=True)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one message."""
        now = record.levelno >= logging.WARNING
        self._put(_stamped(record.levelname, record.getMessage()), now)

    def write(self, text: str) -> None:
        """Writes a result that the program prints."""
        self._put(_stamped("RESULT", text), now=True)

    def write_error(self, error: BaseException) -> None:
        """Writes an error with its whole traceback."""
        text = "".join(traceback.format_exception(error)).rstrip()
        self._put(_stamped("ERROR", text), now=True)

    def _put(self, line: str, now: bool) -> None:
        self._kept.append(hide(line))
        if self._folder is None:
            return
        # Ignored: the disk is full or the bucket cannot be reached. The run itself will report that. The libraries for
        # buckets raise errors other than OSError too.
        with contextlib.suppress(Exception if is_remote(self._folder) else OSError):
            self._write_object(now) if is_remote(self._folder) else self._append()

    def _append(self) -> None:
        if self._folder.is_dir():
            path = self._folder / NAME
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write("".join(self._kept))
            self._kept.clear()

    def _write_object(self, now: bool) -> None:
        late = time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES
        if (now or late) and self._folder.is_dir():
            data = "".join(self._kept).encode("utf-8", errors="backslashreplace")
            atomic_write_bytes(self._folder / self._object, data)
            self._written = time.monotonic()


def _stamped(kind: str, text: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {kind} {text}\n"
