"""Grading workers: how a worker process is started, what it does, and how it is ended.

A worker is a fresh interpreter (never a fork, never a thread) that imports `jaxreason.tasks` and nothing of the
caller's program. It has a process group and a memory limit of its own, is the first process that Linux kills if the
machine runs out of memory, and writes nothing to the terminal.
"""

import contextlib
import importlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from jaxreason.data.examples import Example
from jaxreason.tasks.isolation import use_isolation
from jaxreason.tasks.registry import Task

START_LIMIT_S = 300.0  # Importing sympy on a busy machine.
MEMORY_BYTES = 4 << 30  # A grader that needs more raises MemoryError.
READY = "ready"


@dataclass(frozen=True)
class Verdict:
    """The result of grading one reply.

    Attributes:
      scores: metric -> value; empty if grading failed.
      extracted: the answer found in the reply, or None.
      error: None, or the failure: "timeout: ...", "crash: ..." or "<exception class>: ...".
    """

    scores: dict[str, float]
    extracted: str | None
    error: str | None


def grade_reply(task: Task, example: Example, text: str) -> Verdict:
    """Scores a reply and extracts its answer in this process; an exception becomes the Verdict's error."""
    try:
        return Verdict(task.score(example, text), task.extract(example, text), None)
    except Exception as error:  # Graders read everything that a model may write.
        return Verdict({}, None, describe_error(error))


def describe_error(error: Exception) -> str:
    """Returns `<class>: <message>`, limited in length."""
    return f"{type(error).__name__}: {error}"[:500]


@dataclass
class GradingWorker:
    """A worker process, what it is doing and until when (`index` -1: starting or idle).

    `began` and `deadline` are seconds of the monotonic clock; `loaded` names the tasks that it has loaded.
    """

    process: subprocess.Popen
    connection: Connection
    deadline: float
    loaded: set[str]
    ready: bool = False
    index: int = -1
    began: float = 0.0


def load_tasks(source: str) -> Mapping[str, Task]:
    """Returns the dict of tasks that `module:name` names."""
    module, _, name = source.partition(":")
    return getattr(importlib.import_module(module), name)


# Why this is not a library's process pool: such pools (pebble, concurrent.futures, loky) start a worker by a fork,
# which copies JAX's locked threads, or by multiprocessing's spawn, which imports the caller's main program. They kill
# one process and leave the processes that a grader has started. They fix an item's time when it is queued, before the
# round's budget is known. And they have no way to give a task's setup time and memory of its own in a worker.
def start_worker(source: str, task_name: str, timeout_s: float, isolation: str) -> GradingWorker:
    """Starts a fresh interpreter that serves one end of a socket pair. Does not wait for it."""
    ours, theirs = socket.socketpair()
    # No send or receive of ours blocks for longer.
    limit = struct.pack("ll", int(timeout_s) + 1, 0)
    for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
        ours.setsockopt(socket.SOL_SOCKET, option, limit)
    paths = [path or os.getcwd() for path in sys.path]
    program = (
        f"import sys; sys.path[:] = {paths!r}; from jaxreason.tasks.workers import serve_grading; "
        f"serve_grading({theirs.fileno()}, {source!r}, {task_name!r}, {timeout_s!r}, {isolation!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,  # Processes that a grader starts end with it.
    )
    theirs.close()
    connection = Connection(ours.detach())
    return GradingWorker(process, connection, time.monotonic() + START_LIMIT_S, {task_name})


def stop_worker(worker: GradingWorker) -> int | None:
    """Kills the process and all that it started, and closes the connection. Returns the exit code."""
    worker.connection.close()
    # A worker that died by itself keeps its own exit code; its group is killed in any case, because of its children.
    try:
        code = worker.process.wait(timeout=0.05)
    except subprocess.TimeoutExpired:
        code = None
    with contextlib.suppress(ProcessLookupError, PermissionError):  # No process is left.
        os.killpg(worker.process.pid, signal.SIGKILL)
    return worker.process.wait(timeout=60) if code is None else code


def serve_grading(
    descriptor: int, source: str, task_name: str, timeout_s: float, isolation: str
) -> None:
    """The worker's side: grades items until the connection ends.

    If its parent is killed while a worker grades, an alarm ends the worker, so that no worker runs forever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent.
    connection = Connection(descriptor)
    tasks = load_tasks(source)
    use_isolation(isolation)
    _go_first()
    _prepare(connection, tasks[task_name])
    while True:
        try:
            name, *item = connection.recv()
        except EOFError:
            return
        if not item:
            _prepare(connection, tasks[name])
            continue
        longest = max(timeout_s, tasks[name].timeout_s or 0.0)
        signal.setitimer(signal.ITIMER_REAL, 2 * longest + 1)
        verdict = grade_reply(tasks[name], *item)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(verdict)


def _prepare(connection: Connection, task: Task) -> None:
    """Loads what a task needs, without the memory limit, and sends "ready" or the error."""
    _limit_memory(
        None
    )  # Libraries reserve more address space while they load than a grader may have.
    try:
        if task.worker_setup is not None:
            task.worker_setup()
    except Exception as error:
        return connection.send(describe_error(error))
    _limit_memory(MEMORY_BYTES)
    _silence()
    connection.send(READY)


def _limit_memory(num_bytes: int | None) -> None:
    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limits = [
            limit for limit in (num_bytes, hard) if limit not in (None, resource.RLIM_INFINITY)
        ]
        resource.setrlimit(resource.RLIMIT_AS, (min(limits, default=hard), hard))


def _go_first() -> None:
    """Makes this worker, and not the run, the process that Linux kills when memory runs out."""
    with contextlib.suppress(OSError):  # Other systems have no such file.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _silence() -> None:
    """Discards a grader's output. Errors before this point did reach the terminal."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
