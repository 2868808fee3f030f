"""Grades replies beside the decoding that makes them, and writes a line for each."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxreason.data.examples import prompt_text
from jaxreason.evaluation.benchmarks import Item
from jaxreason.results.jsonl import FLUSH_SECONDS, JsonlWriter
from jaxreason.tasks.verify import Verdict, VerifierPool

MOST_AT_ONCE = 64
_END = object()


@dataclass(frozen=True)
class Reply:
    """A sample of an item before it is graded; `extra` is added to its line."""

    item: Item
    sample: int
    prompt_tokens: Sequence[int]
    tokens: Sequence[int]
    text: str
    finish_reason: str
    extra: dict[str, Any]


def make_line(benchmark: str, reply: Reply, verdict: Verdict) -> dict[str, Any]:
    """The line of a sample (docs/evaluation_files.md)."""
    example = reply.item.example
    return {
        "id": reply.item.id,
        "benchmark": benchmark,
        "sample": reply.sample,
        "subset": reply.item.subset,
        "cluster": reply.item.cluster,
        "prompt": prompt_text(example),
        "prompt_tokens": list(reply.prompt_tokens),
        "completion": reply.text,
        "tokens": list(reply.tokens),
        "answer": example.answer,
        "extracted": verdict.extracted,
        "scores": verdict.scores,
        "error": verdict.error,
        "num_tokens": len(reply.tokens),
        "finish_reason": reply.finish_reason,
        **reply.extra,
    }


class Grader:
    """A thread that grades what is put to it and writes the lines; use it as a context manager.

    Args:
      pool: the graders.
      task: of all replies.
      benchmark: name in the lines.
      writer: of the sample file.
      on_lines: called in the thread with the lines just written.

    The first exception of the thread is raised by the next `put`, or at the end of the context.
    """

    def __init__(
        self,
        pool: VerifierPool,
        task: str,
        benchmark: str,
        writer: JsonlWriter,
        on_lines: Callable[[list[dict]], None],
    ):
        self._pool, self._task, self._benchmark = pool, task, benchmark
        self._writer, self._on_lines = writer, on_lines
        self._queue: queue.Queue = queue.Queue()
        self._failure: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"grade {benchmark}", daemon=True)

    def __enter__(self) -> "Grader":
        self._thread.start()
        return self

    def put(self, reply: Reply) -> None:
        """Have a reply graded and written."""
        if self._failure is not None:
            raise self._failure
        self._queue.put(reply)

    def __exit__(self, kind, *_) -> None:
        """Waits for all lines; after an exception only for those being graded."""
        if kind is not None:
            self._stopped.set()
        self._queue.put(_END)
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while (replies := self._take()) and not self._stopped.is_set():
                self._grade(replies)
        except BaseException as error:
            self._failure = error

    def _take(self) -> list[Reply]:
        """What is there, at most MOST_AT_ONCE; waits for the first; empty at the end."""
        replies = [self._first()]
        while replies[-1] is not _END and len(replies) < MOST_AT_ONCE and not self._queue.empty():
            replies.append(self._queue.get())
        if replies[-1] is _END:
            self._queue.put(_END)  # for the next call
            replies.pop()
        return replies

    def _first(self) -> Any:
        """The next entry of the queue; while none comes, no line waits to be written."""
        while True:
            try:
                return self._queue.get(timeout=FLUSH_SECONDS)
            except queue.Empty:
                self._writer.flush()

    def _grade(self, replies: list[Reply]) -> None:
        graded = [reply for reply in replies if not reply.finish_reason.startswith("error")]
        items = [(reply.item.example, reply.text) for reply in graded]
        verdicts = dict(zip(map(id, graded), self._pool.score(self._task, items), strict=True))
        lines = []
        for reply in replies:
            failed = Verdict({}, None, f"sampling {reply.finish_reason}")
            verdict = verdicts.get(id(reply), failed)
            lines.append(make_line(self._benchmark, reply, verdict))
            self._writer.write(lines[-1])
        self._writer.flush_if_due()
        self._on_lines(lines)
