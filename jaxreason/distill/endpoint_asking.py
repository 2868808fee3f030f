"""Makes many calls of an endpoint at the same time, on process 0.

The work is done in rounds. Between two rounds a signal can end the run.
"""

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jaxreason.config import to_dict
from jaxreason.data.examples import prompt_messages
from jaxreason.distill.distill_config import TeacherConfig
from jaxreason.distill.endpoint import (
    Answer,
    AskingStoppedError,
    Endpoint,
    FailedError,
    ForbiddenError,
    RefusedError,
    body_of,
)
from jaxreason.distill.passes import Pass, TeacherQuestion, reply_line, reply_seed
from jaxreason.errors import UserError
from jaxreason.results.jsonl import JsonlWriter
from jaxreason.tasks.reply_text import cut_at
from jaxreason.tracking.metric_logger import ProgressBar

_LOG = logging.getLogger(__name__)
ROUND_S = 2.0
SEED_BITS = 31  # Every server accepts a seed of this size.


def endpoint_identity(config: TeacherConfig) -> dict[str, Any]:
    """Returns what replies depend on beside question, decoding and seed. The address is not part of it."""
    return {"teacher": {"name": config.name, "extra": to_dict(config.extra)}}


class Asking:
    """Asks for the missing replies of a pass with `concurrency` threads.

    The threads only make calls. They take pairs from the queue `_todo` and put what they get into `_came`. All other
    state, and the file, belong to the thread that calls `work`.

    Args:
      config: the endpoint.
      one: the pass.
      questions: all questions.
      missing: (place of the question, sample) of each missing reply.
      seed: seed of the run.
      path: the file of replies.
      any_there: whether the endpoint has answered in this pass before.
    """

    def __init__(
        self,
        config: TeacherConfig,
        one: Pass,
        questions: Sequence[TeacherQuestion],
        missing: Sequence[tuple[int, int]],
        seed: int,
        path: Any,
        any_there: bool,
    ):
        self._config, self._pass, self._questions, self._seed = config, one, questions, seed
        self._endpoint = Endpoint(config)
        self._todo: queue.SimpleQueue = queue.SimpleQueue()
        self._came: queue.SimpleQueue = queue.SimpleQueue()
        for pair in missing:
            self._todo.put(pair)
        self._threads: list[threading.Thread] = []
        self._left, self._total = len(missing), len(questions) * one.samples
        self._answered, self._failed_in_a_row = any_there, 0
        self._refused: list[tuple[int, int, str]] = []
        self._forbidden: list[tuple[int, int, str]] = []
        self._key_is_good = False  # An answer of this run shows it, one of an earlier run does not.
        self._failed: Counter[str] = Counter()
        self._writer = JsonlWriter(path)
        self._progress = ProgressBar(f"distill {one.name}", self._total, self._total - self._left)

    def start(self) -> None:
        """Starts the threads. `close` must be called later."""
        for _ in range(min(self._config.concurrency, self._left)):
            # A daemon thread: a run that ends does not wait for calls that may take minutes.
            self._threads.append(threading.Thread(target=self._work, daemon=True))
            self._threads[-1].start()

    def close(self) -> None:
        """Ends the running calls and writes what has arrived."""
        self._endpoint.close()
        self._write_waiting()
        self._writer.close()
        self._progress.close()

    def _work(self) -> None:
        """Runs in each thread: makes calls until none is left or the endpoint is stopped."""
        while not self._endpoint.stopping:
            try:
                place, sample = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                self._came.put((place, sample, self._endpoint.ask(self._body(place, sample))))
            except AskingStoppedError:
                return
            except BaseException as error:
                self._came.put((place, sample, error))

    def _body(self, place: int, sample: int) -> dict[str, Any]:
        one, question = self._pass, self._questions[place]
        seed = reply_seed(self._seed, one.name, question.key, sample, SEED_BITS)
        messages = prompt_messages(question.example)
        return body_of(self._config, messages, one.decoding, one.thinking, seed)

    def work(self) -> bool:
        """Handles arriving replies for ROUND_S seconds; returns whether all calls have ended.

        Raises:
          UserError: too many calls in a row were not answered, or every call was refused.
        """
        end = time.monotonic() + ROUND_S
        while self._left and (rest := end - time.monotonic()) > 0:
            try:
                place, sample, found = self._came.get(timeout=rest)
            except queue.Empty:
                break
            self._left -= 1
            self._take(place, sample, found)
            self._writer.flush_if_due()
            self._progress.update(self._total - self._left, f"{self._failed.total()} failed")
        self._writer.flush_if_due()
        if not self._left:
            self._end()
        return not self._left

    def told_failed(self) -> int:
        """Returns the number of replies that could not be obtained, and logs the most frequent reasons."""
        for why, number in self._failed.most_common(3):
            _LOG.warning("%s: %d calls were not answered: %s", self._config.url, number, why)
        return self._failed.total()

    def _take(self, place: int, sample: int, found: Answer | BaseException) -> None:
        if isinstance(found, Answer):
            self._answered = self._key_is_good = True
            self._failed_in_a_row = 0
            return self._write(place, sample, found)
        if isinstance(found, RefusedError):
            self._refused.append((place, sample, str(found)))
        elif isinstance(found, ForbiddenError):
            self._forbidden.append((place, sample, str(found)))
            self._failed_in_a_row += 1
        elif isinstance(found, FailedError):
            self._failed[str(found)] += 1
            self._failed_in_a_row += 1
        else:
            raise found
        in_a_row = self._failed_in_a_row + (0 if self._answered else len(self._refused))
        # Until the endpoint has answered once, refusals count as well: the cause may be the
        # recipe and not one question.
        if in_a_row >= 2 * self._config.concurrency:
            self._settle()
            hint = " Check distill.teacher.key_variable." if self._forbidden else ""
            raise UserError(
                f"{self._config.url}: {in_a_row} calls in a row were not answered, the last with: {found}. "
                f"Replies that came are kept; the same command asks for the others.{hint}"
            )

    def _settle(self) -> None:
        """Gives up the endpoint: stops new calls, waits up to one round for the running
        ones and keeps their replies.
        """
        self._endpoint.stop()
        end = time.monotonic() + ROUND_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._write_waiting()

    def _write_waiting(self) -> None:
        """Writes the replies that have come and were not taken; `work` may have ended with an error before them."""
        while not self._came.empty():
            place, sample, found = self._came.get_nowait()
            if isinstance(found, Answer):
                self._write(place, sample, found)

    def _write(self, place: int, sample: int, answer: Answer) -> None:
        text = cut_at(answer.content, self._pass.decoding.stop)
        told = text, answer.reasoning, answer.finish_reason, answer.num_tokens
        question = self._questions[place]
        self._writer.write(reply_line(self._pass, question, place, sample, *told))

    def _end(self) -> None:
        """Decides whether refusals are due to the question (if other calls were answered) or to
        the recipe (if none was). Replies that are forbidden in a run without any answer stay missing.
        """
        refused = self._refused + self._forbidden
        if refused and not self._answered:
            raise UserError(
                f"{self._config.url}: every call was refused, the first with: {refused[0][2]}"
            )
        if self._key_is_good:
            self._refused = refused
        else:
            self._failed.update(why for _, _, why in self._forbidden)
        for place, sample, why in self._refused:
            self._write(place, sample, Answer("", None, f"error: {why}", None))
        self._refused = []
        self._writer.flush()
