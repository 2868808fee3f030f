"""`<workdir>/log.txt`: every message of a run, and the traceback of whatever ended it."""

import logging
import time
import traceback
from collections.abc import Sequence

from etils import epath

NAME = "log.txt"


class LogFile(logging.Handler):
    """Appends to the log of a working directory on a disk; without one, or on a bucket, it writes nothing.

    It makes no folder: what comes before the run has made its own is kept and written then, so that a mistyped
    command leaves nothing behind. A log that cannot be written never stops a run.

    Args:
      workdir: of the run, or None.
      command: the words of the command line, for the first line.
    """

    def __init__(self, workdir: epath.Path | None, command: Sequence[str] = ()):
        super().__init__(logging.INFO)
        on_disk = workdir is not None and "://" not in str(workdir)
        self._folder = workdir if on_disk else None
        self._kept = [_stamped("COMMAND", " ".join(command))]

    def attach(self) -> None:
        """Takes the package's messages from now on; called on process 0 alone."""
        log = logging.getLogger("jaxreason")
        if self not in log.handlers:
            log.addHandler(self)

    def close(self) -> None:
        """Takes no more messages, and writes what was kept."""
        logging.getLogger("jaxreason").removeHandler(self)
        self._put("")
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        self._put(_stamped(record.levelname, record.getMessage()))

    def write(self, text: str) -> None:
        """Write what the program prints at its end."""
        self._put(_stamped("RESULT", text))

    def write_error(self, error: BaseException) -> None:
        """Write an error with its whole traceback."""
        self._put(_stamped("ERROR", "".join(traceback.format_exception(error)).rstrip()))

    def _put(self, line: str) -> None:
        self._kept.append(line)
        try:
            if self._folder is None or not self._folder.is_dir():
                return
            with open(
                self._folder / NAME, "a", encoding="utf-8", errors="backslashreplace"
            ) as file:
                file.write("".join(self._kept))
            self._kept.clear()
        except OSError:  # a full disk: the run itself will say so
            return


def _stamped(kind: str, text: str) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {kind} {text}\n"
