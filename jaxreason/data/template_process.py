"""The process that renders chat templates, shared by all tokenizers of this process; it starts when first needed."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from jaxreason.data.template_worker import SECONDS
from jaxreason.errors import UserError

# Limits of the output: a template adds marks and perhaps a page of its own to its input.
_MOST_ADDED, _MOST_TIMES = 2**20, 8


class _Process:
    def __init__(self) -> None:
        self._lock, self._owner = threading.Lock(), 0
        self._process: subprocess.Popen | None = None

    def ask(self, line: str) -> dict[str, Any]:
        """Returns the answer to a request, or an `error` if the process ended."""
        with self._lock:
            ended = self._process is not None and self._process.poll() is not None
            if self._process is None or ended or self._owner != os.getpid():
                self._start()
            try:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
                answer = self._process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            except BaseException:  # Ctrl-C: the next request must not get the answer to this one.
                self._stop()
                self._process = None
                raise
            return json.loads(answer) if answer.endswith("\n") else {"error": self._ended()}

    def _start(self) -> None:
        """Starts the process in its own session, so that Ctrl-C does not reach it. It ends when its input ends."""
        if self._owner != os.getpid():
            atexit.register(self._stop)
        path = Path(__file__).with_name("template_worker.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._owner, self._process = (
            os.getpid(),
            subprocess.Popen(
                [sys.executable, "-P", str(path)], text=True, start_new_session=True, **pipes
            ),
        )

    def _ended(self) -> str:
        code, self._process = self._process.wait(), None
        if code == -signal.SIGPROF:
            return f"it takes more than {SECONDS:g} s"
        return f"the process that renders it ended with {code}"

    def _stop(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()


_PROCESS = _Process()


def render_all(template: str, calls: list[dict[str, Any]]) -> list[str]:
    """Renders a Jinja template with each set of variables, in one request to the process.

    Args:
      template: its source; transformers' environment is assumed.
      calls: variables, with values that JSON can hold.

    Raises:
      UserError: the template fails, or takes more time, memory or characters than any real one.
    """
    written = json.dumps(calls)
    most = _MOST_ADDED + _MOST_TIMES * len(written)
    request = json.dumps({"template": template, "most": most})
    answer = _PROCESS.ask(f'{request[:-1]}, "calls": {written}}}')
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["texts"]
