"""Grading that cannot hang: every grader runs in worker processes, which are killed when their time is up.

Every failure becomes a named error in the Verdict and is counted; it never becomes a silent zero.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.isolation import find_isolation
from jaxreason.tasks.registry import find_task
from jaxreason.tasks.workers import (
    READY,
    START_LIMIT_S,
    GradingWorker,
    Verdict,
    load_tasks,
    start_worker,
    stop_worker,
)

__all__ = ["Verdict", "VerifierPool"]

MAX_FAILED_STARTS = 3
SHORT_S = 1.0  # Grading that takes less time is not slow.
LOOK_S = 0.5  # Interval at which the pool checks whether it is to be closed.
FULL_SHARE = 0.75  # After this share of a budget is spent, an item may take only SHORT_S.
Item = tuple[Example, str]


class VerifierPool:
    """Grades replies in worker processes; it runs one `score` call at a time.

    Args:
      num_workers: worker processes; they start when they are needed, and load what a task needs when its first reply
        comes.
      timeout_s: wall-clock seconds that an item may take in a worker before that worker is killed and replaced; a task
        may ask for more (`Task.timeout_s`).
      tasks: `module:name` of the dict of tasks, importable in the worker.
      code_isolation: how programs that a model wrote are isolated: "auto", or "none".

    Attributes:
      failures: counts by the first word of the error ("timeout", "crash", "ValueError", ...).
    """

    def __init__(
        self,
        num_workers: int,
        timeout_s: float,
        tasks: str = "jaxreason.tasks.registry:TASKS",
        code_isolation: str = "auto",
    ):
        if num_workers < 1 or timeout_s <= 0:
            raise UserError(
                "VerifierPool needs num_workers >= 1 and timeout_s > 0, "
                f"got {num_workers} and {timeout_s}."
            )
        self.num_workers, self.timeout_s, self.source = num_workers, timeout_s, tasks
        self.tasks, self.code_isolation = load_tasks(tasks), code_isolation
        self.failures: Counter[str] = Counter()
        self._workers: list[GradingWorker] = []
        self._failed_starts = 0
        self._lock, self._closing = threading.Lock(), threading.Event()

    def __enter__(self) -> "VerifierPool":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def score(
        self, task_name: str, items: Sequence[Item], budget_s: float | None = None
    ) -> list[Verdict]:
        """Grades (example, reply) pairs; returns one Verdict each, in their order.

        The same text for the same Example object is graded once.

        Args:
          task_name: the task of all items.
          items: the pairs.
          budget_s: seconds that a worker may spend on slow replies (those that take more than a second each). When
            three quarters are spent, a reply may take only a second; when all is spent, the waiting replies get a
            timeout error. None: no limit.

        Raises:
          UserError: for an unknown task, or one that runs code if no isolation works.
          RuntimeError: workers repeatedly do not start, or the pool is closed meanwhile.
        """
        if find_task(task_name, self.tasks).runs_code:
            find_isolation(self.code_isolation)
        with self._lock:
            verdicts = _Round(self, task_name, items, budget_s).run()
            kinds = (v.error.split(":")[0] for v in verdicts if v.error is not None)
            self.failures.update(kinds)
        return verdicts

    def close(self) -> None:
        """Ends the workers, and a `score` call of another thread. If the pool is used again, it starts new workers."""
        self._closing.set()
        with self._lock:
            for worker in self._workers:
                stop_worker(worker)
            self._workers = []
            self._closing.clear()


@dataclass
class _Round:
    """One `score` call: each item waits, is with a worker, or has its verdict."""

    pool: VerifierPool
    task_name: str
    items: Sequence[Item]
    budget_s: float | None
    slow_s: float = 0.0
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)

    def run(self) -> list[Verdict]:
        # Equal replies to one question are graded once: `first` has the item that stands for all of them.
        keys = [(id(example), text) for example, text in self.items]
        first = {key: index for index, key in reversed(list(enumerate(keys)))}
        self.waiting.extend(sorted(first.values()))
        try:
            while len(self.verdicts) < len(first):
                if self.pool._closing.is_set():
                    raise RuntimeError("the pool was closed while it graded")
                self._fill()
                self._wait()
                self._stop_when_spent()
        # Also Ctrl-C: replies that are still being graded must not reach the next call.
        except BaseException:
            for worker in list(self.pool._workers):
                self._remove(worker)
            raise
        return [self.verdicts[first[key]] for key in keys]

    def _limit(self) -> float:
        """Returns the seconds that the next item may take."""
        own = self.pool.tasks[self.task_name].timeout_s or 0.0
        longest = max(self.pool.timeout_s, own)
        if (
            self.budget_s is None
            or self.slow_s < FULL_SHARE * self.budget_s * self.pool.num_workers
        ):
            return longest
        return min(SHORT_S, longest)

    def _stop_when_spent(self) -> None:
        """Gives all waiting items a timeout error once the budget is spent."""
        if self.budget_s is None or self.slow_s < self.budget_s * self.pool.num_workers:
            return
        error = f"timeout: not tried, {self.slow_s:.0f} s had gone to slow replies"
        while self.waiting:
            self.verdicts[self.waiting.popleft()] = Verdict({}, None, error)

    def _fill(self) -> None:
        """Starts missing workers and gives every idle one an item."""
        workers = self.pool._workers
        busy = sum(worker.index >= 0 for worker in workers)
        while len(workers) < min(self.pool.num_workers, busy + len(self.waiting)):
            workers.append(self._start())
        for worker in list(workers):
            if worker.ready and worker.index < 0 and self.waiting:
                self._give(worker)

    def _start(self) -> GradingWorker:
        pool = self.pool
        return start_worker(pool.source, self.task_name, pool.timeout_s, pool.code_isolation)

    def _give(self, worker: GradingWorker) -> None:
        """Sends the next item. If the worker died while idle, the item keeps its place in the queue."""
        try:
            if (code := worker.process.poll()) is not None:
                raise OSError(f"it had ended with code {code}")
            # Loading comes before the item, which keeps its place: a slow import must not count as a slow reply.
            if self.task_name not in worker.loaded:
                return self._prepare(worker)
            worker.connection.send((self.task_name, *self.items[self.waiting[0]]))
        except OSError as error:
            return self._lost(worker, f"crash: the worker took no item ({error})")
        worker.index, worker.began = self.waiting.popleft(), time.monotonic()
        worker.deadline = worker.began + self._limit()

    def _prepare(self, worker: GradingWorker) -> None:
        """Makes a worker load what the task needs; this takes none of an item's time."""
        worker.connection.send((self.task_name,))
        worker.loaded.add(self.task_name)
        worker.ready, worker.deadline = False, time.monotonic() + START_LIMIT_S

    def _wait(self) -> None:
        """Waits until a worker sends something or the first deadline passes."""
        active = [worker for worker in self.pool._workers if worker.index >= 0 or not worker.ready]
        if not active:
            return
        first = min(worker.deadline for worker in active) - time.monotonic()
        spoke = wait([worker.connection for worker in active], timeout=min(max(first, 0.0), LOOK_S))
        for worker in active:
            if worker.connection in spoke:
                self._receive(worker)
            elif time.monotonic() >= worker.deadline:
                took = START_LIMIT_S if worker.index < 0 else worker.deadline - worker.began
                self._lost(worker, f"timeout: no verdict within {took:.3g} s")

    def _receive(self, worker: GradingWorker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError) as error:
            code = stop_worker(worker)
            return self._lost(worker, f"crash: the worker ended with code {code} ({error!r})")
        if worker.index >= 0:
            self._count(worker)
            self.verdicts[worker.index] = message
            worker.index, self.pool._failed_starts = -1, 0
        elif message == READY:
            worker.ready = True
        else:
            self._lost(worker, message)

    def _count(self, worker: GradingWorker) -> None:
        took = time.monotonic() - worker.began
        self.slow_s += took if took >= min(SHORT_S, self.pool.timeout_s) else 0.0

    def _lost(self, worker: GradingWorker, error: str) -> None:
        """Removes a worker; if it had an item, the error becomes that item's verdict."""
        self._remove(worker)
        if worker.index >= 0:
            self._count(worker)
            self.verdicts[worker.index] = Verdict({}, None, error)
            return
        self.pool._failed_starts += 1
        if self.pool._failed_starts >= MAX_FAILED_STARTS:
            self.pool._failed_starts = 0
            raise RuntimeError(
                f"grading workers do not start, {MAX_FAILED_STARTS} times in a row: {error}"
            )

    def _remove(self, worker: GradingWorker) -> None:
        self.pool._workers.remove(worker)
        stop_worker(worker)
