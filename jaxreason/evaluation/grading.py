"""Grades samples, during the decoding that makes them or after it, and writes a line for each."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jaxreason.data.examples import prompt_text
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.results.jsonl import FLUSH_SECONDS, JsonlWriter
from jaxreason.results.sample_files import is_failed, sample_digest
from jaxreason.tasks.reply_text import reopened
from jaxreason.tasks.verify import Verdict, VerifierPool

MOST_AT_ONCE = 64
OPENED = "opened"  # Field of a sample's line: whether the prompt opens the thought in which the reply begins.
_END = object()


@dataclass(frozen=True)
class EvalReply:
    """A sample of an item; `extra` is added to its line."""

    item: EvalItem
    sample: int
    prompt_tokens: Sequence[int]
    tokens: Sequence[int]
    text: str
    finish_reason: str
    extra: dict[str, Any]


def opening(tokenizer: Tokenizer, prompt: Sequence[int]) -> dict[str, Any]:
    """Returns what the line of a reply to this prompt says of the thought that the prompt has opened, if it has."""
    return {OPENED: True} if tokenizer.opens_thought(prompt) else {}


def sample_line(benchmark: str, reply: EvalReply) -> dict[str, Any]:
    """Returns the line of a sample (docs/evaluation_files.md)."""
    return {
        "id": reply.item.id,
        "benchmark": benchmark,
        "sample": reply.sample,
        "subset": reply.item.subset,
        "cluster": reply.item.cluster,
        "prompt": prompt_text(reply.item.example),
        "prompt_tokens": list(reply.prompt_tokens),
        "completion": reply.text,
        "tokens": list(reply.tokens),
        "num_tokens": len(reply.tokens),
        "finish_reason": reply.finish_reason,
        **reply.extra,
    }


def grade_line(line: dict[str, Any], item: EvalItem, verdict: Verdict) -> dict[str, Any]:
    """Returns the line of a grade, from a sample's line and its question."""
    shared = ("id", "benchmark", "sample")
    return {name: line[name] for name in shared} | {
        "subset": item.subset,
        "cluster": item.cluster,
        "answer": item.example.answer,
        "extracted": verdict.extracted,
        "scores": verdict.scores,
        "error": verdict.error,
        "of": sample_digest(line),
    }


def make_grades(
    pool: VerifierPool, task: str, samples: Sequence[tuple[EvalItem, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Returns the grades of (item, line of a sample), in order; a sample that failed has its error."""
    graded = [pair for pair in samples if not is_failed(pair[1])]
    items = [(item.example, _seen(line, task)) for item, line in graded]
    verdicts = {
        id(pair[1]): found for pair, found in zip(graded, pool.score(task, items), strict=True)
    }
    return [
        grade_line(line, item, verdicts.get(id(line)) or _failed(line)) for item, line in samples
    ]


def _seen(line: dict[str, Any], task: str) -> str | tuple[float, ...]:
    """Returns the input of a grader: the reply, or the likelihoods of the choices."""
    if "choice_logprobs" in line:
        return tuple(line["choice_logprobs"])
    text = line["completion"]
    return reopened(text, task) if line.get(OPENED) else text


def _failed(line: dict[str, Any]) -> Verdict:
    return Verdict({}, None, f"sampling {line['finish_reason']}")


class Grader:
    """A thread that grades the samples that are passed to it and writes the lines; use it as a context manager.

    Args:
      pool: the graders.
      task: of all replies.
      writer: of the grade file.
      on_lines: called in the thread with lines that were just written.

    The first exception of the thread is raised by the next `put`, or at the end of the context.
    """

    def __init__(
        self,
        pool: VerifierPool,
        task: str,
        writer: JsonlWriter,
        on_lines: Callable[[list[dict]], None],
    ):
        self._pool, self._task = pool, task
        self._writer, self._on_lines = writer, on_lines
        self._queue: queue.Queue = queue.Queue()
        self._failure: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"grade {task}", daemon=True)

    def __enter__(self) -> "Grader":
        self._thread.start()
        return self

    def put(self, item: EvalItem, line: dict[str, Any]) -> None:
        """Queues a sample to be graded and its grade to be written."""
        if self._failure is not None:
            raise self._failure
        self._queue.put((item, line))

    def __exit__(self, kind, *_) -> None:
        """Waits for all lines; after an exception only for those that are being graded."""
        if kind is not None:
            self._stopped.set()
        self._queue.put(_END)
        self._thread.join()
        if kind is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while (samples := self._take()) and not self._stopped.is_set():
                self._grade(samples)
        except BaseException as error:
            self._failure = error

    def _take(self) -> list[tuple[EvalItem, dict[str, Any]]]:
        """Takes the waiting items, at most MOST_AT_ONCE; waits for the first one; empty at the end."""
        samples = [self._first()]
        while samples[-1] is not _END and len(samples) < MOST_AT_ONCE and not self._queue.empty():
            samples.append(self._queue.get())
        if samples[-1] is _END:
            self._queue.put(_END)  # Kept for the next call.
            samples.pop()
        return samples

    def _first(self) -> Any:
        """Returns the next entry of the queue; while it waits for one, it writes all lines that are still buffered."""
        while True:
            try:
                return self._queue.get(timeout=FLUSH_SECONDS)
            except queue.Empty:
                self._writer.flush()

    def _grade(self, samples: list[tuple[EvalItem, dict[str, Any]]]) -> None:
        lines = make_grades(self._pool, self._task, samples)
        for line in lines:
            self._writer.write(line)
        self._writer.flush_if_due()
        self._on_lines(lines)
