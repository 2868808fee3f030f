"""`<workdir>/log.txt`: every message of a run, and the traceback of whatever ended it."""

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
    """Appends to the log of a working directory; without one it writes nothing.

    On a bucket, which cannot append, each start has a log of its own, `logs/<time>-<host>-<process>.txt`, which is
    written anew with all lines at every warning and error, at the end, and else at most every SECONDS_BETWEEN_WRITES.

    It makes no folder: what comes before the run has made its own is kept and written then, so that a mistyped
    command leaves nothing behind. A log that cannot be written never stops a run.

    Args:
      workdir: of the run, or None.
      command: the words of the command line, for the first line. Secrets are hidden in all that is written.
    """

    def __init__(self, workdir: epath.Path | None, command: Sequence[str] = ()):
        super().__init__(logging.INFO)
        self._folder = workdir
        started = time.strftime("%Y%m%d-%H%M%S")
        self._object = f"logs/{started}-{socket.gethostname()}-{os.getpid()}.txt"
        self._written = time.monotonic()
        self._kept = [hide(_stamped("COMMAND", " ".join(command)))]

    def attach(self) -> None:
        """Takes the package's messages from now on; called on process 0 alone."""
        log = logging.getLogger("jaxreason")
        if self not in log.handlers:
            log.addHandler(self)

    def close(self) -> None:
        """Takes no more messages, and writes what was kept."""
        logging.getLogger("jaxreason").removeHandler(self)
        self._put("", now=True)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        now = record.levelno >= logging.WARNING
        self._put(_stamped(record.levelname, record.getMessage()), now)

    def write(self, text: str) -> None:
        """Write what the program prints at its end."""
        self._put(_stamped("RESULT", text), now=True)

    def write_error(self, error: BaseException) -> None:
        """Write an error with its whole traceback."""
        text = "".join(traceback.format_exception(error)).rstrip()
        self._put(_stamped("ERROR", text), now=True)

    def _put(self, line: str, now: bool) -> None:
        self._kept.append(hide(line))
        if self._folder is None:
            return
        # A full disk, or a bucket out of reach: the run itself will say so. Libraries of buckets have other errors too.
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
