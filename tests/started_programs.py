"""Starts the program in processes of their own, without importing everything again for each of them.

    from started_programs import start
    process = start(code, ["sft", "--config", ...], folder, environment, log)   # as `python -c code sft ...`

To import JAX, transformers and the project takes a slow machine longer than many a test computes. One process for each
worker of pytest imports them once and uses no device; it forks for every program. The fork has its own session,
variables, folder and output, as a process that was started by hand.

Where that cannot be had (variables that libraries read when they are imported differ, no `os.fork`), the program is
started by hand. `python -m jaxreason` itself is started in tests/test_cli.py, tests/verbs/test_endings.py and others.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Variables with these beginnings are read when the libraries are imported.
READ_AT_IMPORT = (
    "JAX_",
    "TF_",
    "HF_",
    "TRANSFORMERS_",
    "OPENBLAS_",
    "OMP_",
    "MPL",
    "PYTHON",
    "LD_",
)
# But these are read later, or set anew in the fork, or change nothing here and are set by libraries that tests import.
READ_LATER = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "PYTHONPATH")
READ_LATER += ("HF_XET_HIGH_PERFORMANCE", "TRANSFORMERS_NO_ADVISORY_WARNINGS")
POLL_S = 0.02


class Program:
    """What a test does with a `subprocess.Popen`."""

    def __init__(self, pid: int, args: list[str]):
        self.pid, self.args, self.returncode = pid, args, None

    def poll(self) -> int | None:
        """Returns the exit code, minus the signal's number if one ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = _ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end.

        Raises:
          subprocess.TimeoutExpired: it did not come within `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(POLL_S)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)


def start(
    code: str, arguments: list[str], folder: Path | str, environment: dict[str, str], log: Any
) -> "Program | subprocess.Popen":
    """Starts `python -c code arguments` in a folder and a session of its own; it writes all to the open file `log`."""
    if hasattr(os, "fork") and _read_at_import(environment) == _read_at_import(_AT_FIRST):
        job = {"code": code, "arguments": arguments, "folder": str(folder)}
        job |= {"environment": dict(environment), "log": os.path.abspath(log.name)}
        return Program(_ask(job), [code, *arguments])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _read_at_import(environment) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_IMPORT) and name not in READ_LATER
    }


# What this process's variables were before a test changed some.
_AT_FIRST = dict(os.environ)
_lock = threading.Lock()


def _ask(request: dict) -> Any:
    with _lock:
        connection = _connection()
        connection.write(json.dumps(request) + "\n")
        connection.flush()
        return json.loads(connection.readline())


@functools.cache
def _connection() -> Any:
    """A file to the process that forks, which is started at the first request."""
    ours, theirs = socket.socketpair()
    environment = _AT_FIRST | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    command = [sys.executable, __file__, str(theirs.fileno())]
    process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()], cwd=ROOT)
    theirs.close()
    connection = ours.makefile("rw")
    atexit.register(_stop, process, connection)
    return connection


def _stop(process: subprocess.Popen, connection: Any) -> None:
    with contextlib.suppress(OSError):
        connection.close()
    process.kill()
    process.wait()


# ---- the process that forks ----


def _serve(number: int) -> None:
    """Answers requests until nobody can ask; returns in a fork, with its job done."""
    _import_all()
    with socket.socket(fileno=number) as own, own.makefile("rw") as connection:
        job = _next_job(connection)
    if job is not None:
        _run(job)


def _next_job(connection: Any) -> dict | None:
    """Returns a job in the fork that is to do it, and None in this process when nobody asks any more."""
    for line in connection:
        request = json.loads(line)
        answer = _exit_code(request["poll"]) if "poll" in request else _fork()
        if answer == 0 and "poll" not in request:
            return request
        connection.write(json.dumps(answer) + "\n")
        connection.flush()
    return None


def _fork() -> int:
    """Returns 0 in the fork, elsewhere its number, once it has a session of its own."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
    os.close(done)
    if pid != 0:
        os.read(ready, 1)  # until the fork has closed its end
    os.close(ready)
    return pid


def _exit_code(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


# What the program imports at its start or where it needs it first.
MODULES = (
    *("jaxreason.cli", "jaxreason.verbs.stages", "jaxreason.verbs.result_verbs"),
    *("jaxreason.report.build", "jaxreason.checkpoint_trees", "scipy.stats", "grain"),
)


def _import_all() -> None:
    from jaxreason.data import tokenizer_library

    tokenizer_library.hide_torch()
    tokenizer_library.tokenizer_library()
    for name in MODULES:
        importlib.import_module(name)
    from jax._src import xla_bridge

    assert not xla_bridge.backends_are_initialized()
    gc.collect()
    gc.freeze()  # so that forks share its memory


def _run(job: dict) -> None:
    """Becomes the program: folder, variables, output, arguments, path."""
    log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.argv = ["-c", *job["arguments"]]
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    known = [path for path in sys.path if Path(path) not in (ROOT, ROOT / "tests")]
    sys.path[:] = ["", *filter(None, own), *known]
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    exec(compile(job["code"], "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
