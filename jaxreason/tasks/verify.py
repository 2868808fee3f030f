"""Grading that cannot hang: slow graders run in worker processes that are killed in time.

A worker is a fresh interpreter (never a fork, never a thread) that imports `jaxreason.tasks` and
nothing of the caller's program. Whatever goes wrong becomes a named error in the Verdict and is
counted, never a silent zero.
"""

import importlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.registry import TASKS, Task, find_task

START_LIMIT_S = 300.0  # importing sympy on a busy machine
MAX_FAILED_STARTS = 3
MEMORY_BYTES = (
    4 << 30
)  # a grader that asks for more raises MemoryError instead of taking the host's memory
Item = tuple[Example, str]


@dataclass(frozen=True)
class Verdict:
    """The result of grading one reply.

    Attributes:
      scores: metric -> value; empty when grading failed.
      extracted: the answer found in the reply, or None.
      error: None, or what went wrong: "timeout: ...", "crash: ..." or "<exception class>: ...".
    """

    scores: dict[str, float]
    extracted: str | None
    error: str | None


def grade(task: Task, example: Example, text: str) -> Verdict:
    """Score and extract in this process; an exception becomes the Verdict's error."""
    try:
        return Verdict(task.score(example, text), task.extract(example, text), None)
    except Exception as error:  # graders read whatever a model writes
        return Verdict({}, None, f"{type(error).__name__}: {error}"[:500])


@dataclass
class Worker:
    """A worker process and what it is doing until when (`index` -1: starting or idle)."""

    process: subprocess.Popen
    connection: Connection
    deadline: float
    ready: bool = False
    index: int = -1


class VerifierPool:
    """Grades replies, in worker processes where the task asks for them; one `score` call at a time.

    Args:
      num_workers: worker processes; they start with the first task that needs them.
      timeout_s: wall-clock seconds an item may take in a worker before that worker is killed and
        replaced.
      tasks: `module:name` of the dict of tasks, importable in the worker.

    Attributes:
      failures: counts by the first word of the error ("timeout", "crash", "ValueError", ...).
    """

    def __init__(
        self, num_workers: int, timeout_s: float, tasks: str = "jaxreason.tasks.registry:TASKS"
    ):
        if num_workers < 1 or timeout_s <= 0:
            raise UserError(
                "VerifierPool needs num_workers >= 1 and timeout_s > 0, "
                f"got {num_workers} and {timeout_s}."
            )
        self.num_workers, self.timeout_s, self.source = num_workers, timeout_s, tasks
        self.tasks = load_tasks(tasks)
        self.failures: Counter[str] = Counter()
        self._workers: list[Worker] = []
        self._failed_starts = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "VerifierPool":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def score(self, task_name: str, items: Sequence[Item]) -> list[Verdict]:
        """Grades (example, reply) pairs; one Verdict each, in their order.

        Raises:
          ValueError: for an unknown task.
          RuntimeError: when workers repeatedly do not start.
        """
        task = find_task(task_name, self.tasks)
        with self._lock:
            if task.worker_setup is None:
                verdicts = [grade(task, example, text) for example, text in items]
            else:
                verdicts = _Round(self, task_name, items).run()
            kinds = (v.error.split(":")[0] for v in verdicts if v.error is not None)
            self.failures.update(kinds)
        return verdicts

    def close(self) -> None:
        """Ends the workers. The pool may be used again; it then starts new ones."""
        with self._lock:
            for worker in self._workers:
                stop_worker(worker)
            self._workers = []


@dataclass
class _Round:
    """One `score` call: items wait, are at a worker, or have their verdict."""

    pool: VerifierPool
    task_name: str
    items: Sequence[Item]
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)

    def run(self) -> list[Verdict]:
        self.waiting.extend(range(len(self.items)))
        try:
            while len(self.verdicts) < len(self.items):
                self._fill()
                self._wait()
        except BaseException:  # also Ctrl-C: replies still under way must not reach the next call
            for worker in list(self.pool._workers):
                self._remove(worker)
            raise
        return [self.verdicts[index] for index in range(len(self.items))]

    def _fill(self) -> None:
        """Starts missing workers and gives every idle one an item."""
        workers = self.pool._workers
        busy = sum(worker.index >= 0 for worker in workers)
        while len(workers) < min(self.pool.num_workers, busy + len(self.waiting)):
            workers.append(start_worker(self.pool.source, self.pool.timeout_s))
        for worker in list(workers):
            if worker.ready and worker.index < 0 and self.waiting:
                self._give(worker)

    def _give(self, worker: Worker) -> None:
        """Sends the next item; it keeps its place if the worker died while idle."""
        try:
            if (code := worker.process.poll()) is not None:
                raise OSError(f"it had ended with code {code}")
            worker.connection.send((self.task_name, *self.items[self.waiting[0]]))
        except OSError as error:
            return self._lost(worker, f"crash: the worker took no item ({error})")
        worker.index = self.waiting.popleft()
        worker.deadline = time.monotonic() + self.pool.timeout_s

    def _wait(self) -> None:
        """Until a worker says something or the first deadline passes."""
        active = [worker for worker in self.pool._workers if worker.index >= 0 or not worker.ready]
        if not active:
            return
        first = min(worker.deadline for worker in active) - time.monotonic()
        spoke = wait([worker.connection for worker in active], timeout=max(first, 0.0))
        for worker in active:
            if worker.connection in spoke:
                self._receive(worker)
            elif time.monotonic() >= worker.deadline:
                limit = START_LIMIT_S if worker.index < 0 else self.pool.timeout_s
                self._lost(worker, f"timeout: no verdict within {limit:g} s")

    def _receive(self, worker: Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError) as error:
            code = stop_worker(worker)
            return self._lost(worker, f"crash: the worker ended with code {code} ({error!r})")
        if worker.index < 0:
            worker.ready = True
        else:
            self.verdicts[worker.index] = message
            worker.index, self.pool._failed_starts = -1, 0

    def _lost(self, worker: Worker, error: str) -> None:
        """Removes a worker; its item, if it had one, gets the error as its verdict."""
        self._remove(worker)
        if worker.index >= 0:
            self.verdicts[worker.index] = Verdict({}, None, error)
            return
        self.pool._failed_starts += 1
        if self.pool._failed_starts >= MAX_FAILED_STARTS:
            self.pool._failed_starts = 0
            raise RuntimeError(
                f"grading workers do not start, {MAX_FAILED_STARTS} times in a row: {error}"
            )

    def _remove(self, worker: Worker) -> None:
        self.pool._workers.remove(worker)
        stop_worker(worker)


def load_tasks(source: str) -> Mapping[str, Task]:
    """The dict that `module:name` points to."""
    module, _, name = source.partition(":")
    return (
        TASKS
        if source == "jaxreason.tasks.registry:TASKS"
        else getattr(importlib.import_module(module), name)
    )


def start_worker(source: str, timeout_s: float) -> Worker:
    """Starts a fresh interpreter that serves one end of a socket pair. Does not wait for it."""
    ours, theirs = socket.socketpair()
    limit = struct.pack("ll", int(timeout_s) + 1, 0)  # no send or receive of ours blocks for longer
    for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
        ours.setsockopt(socket.SOL_SOCKET, option, limit)
    paths = [path or os.getcwd() for path in sys.path]
    program = (
        f"import sys; sys.path[:] = {paths!r}; from jaxreason.tasks.verify import serve; "
        f"serve({theirs.fileno()}, {source!r}, {timeout_s!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
    )
    theirs.close()
    return Worker(process, Connection(ours.detach()), time.monotonic() + START_LIMIT_S)


def stop_worker(worker: Worker) -> int | None:
    """Kills the process if it still runs, and closes the connection. Returns the exit code."""
    worker.connection.close()
    if worker.process.poll() is None:
        try:
            worker.process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            worker.process.kill()
    return worker.process.wait(timeout=60)


def serve(descriptor: int, source: str, timeout_s: float) -> None:
    """The worker's side: grades what comes until the connection ends.

    An alarm ends a worker whose parent was killed while it was grading, so none is left spinning.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    connection = Connection(descriptor)
    tasks = load_tasks(source)
    for setup in {task.worker_setup for task in tasks.values()} - {None}:
        setup()
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    connection.send("ready")
    while True:
        try:
            name, example, text = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, 2 * timeout_s + 1)
        verdict = grade(tasks[name], example, text)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(verdict)
