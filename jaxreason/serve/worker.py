"""The one thread that uses the engine: a queue with an end in front of a `generate` that goes on for ever."""

import math
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import Completion, Engine, Request
from jaxreason.serve.errors import ApiError
from jaxreason.serve.scores import PromptScorer

IDLE_S = 0.05  # how long an idle engine waits for a request before it looks around


@dataclass(eq=False)
class Ticket:
    """A prompt of a call.

    Attributes:
      request: for the engine.
      post: takes (sample, Completion), and ("prompt", PromptScores) if those are wanted; called by the worker's thread.
      streams: whether it is to have unfinished replies too.
      scores: whether the prompt's log-probabilities are wanted.
      replies: whether replies are.
      cancelled: whether nobody wants it any more.
      unfinished: its replies that have not ended.
    """

    request: Request
    post: Callable[[Any, Any], None]
    streams: bool
    scores: bool
    replies: bool
    cancelled: bool = False
    unfinished: int = field(init=False)

    def __post_init__(self) -> None:
        self.unfinished = self.request.num_samples


class Worker:
    """Takes tickets from any thread.

    Args:
      engine: nobody else uses it.
      scorer: of prompts.
      decoding: of requests without one.
      max_sequences: that run or wait at a time.
    """

    def __init__(
        self, engine: Engine, scorer: PromptScorer, decoding: Decoding, max_sequences: int
    ):
        self._engine, self._scorer, self._decoding = engine, scorer, decoding
        self._max_sequences = max_sequences
        self._news = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._running: dict[str, Ticket] = {}
        self._closing, self._thread = False, None
        self.counts: Counter[str] = Counter()  # what has happened, for /metrics

    def start(self, mesh: jax.sharding.Mesh) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._work, args=(mesh,), name="engine", daemon=True)
        self._thread.start()

    def stop(self, cancel: bool) -> None:
        """Takes no more tickets and returns when the last has been served, or, with `cancel`, dropped."""
        with self._news:
            self._closing = True
            dropped = [*self._waiting, *self._running.values()] if cancel else []
            self._news.notify()
        self.cancel(dropped)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether tickets are taken."""
        return not self._closing and self._thread is not None and self._thread.is_alive()

    def load(self) -> tuple[int, int]:
        """Sequences that the engine has, and those that wait for it."""
        with self._news:
            return _sequences(self._running.values()), _sequences(self._waiting)

    def check_room(self, sequences: int) -> None:
        """Whether so many more could be taken now.

        Raises:
          ApiError: 429 if not; 503 when nothing is taken any more.
        """
        if not self.alive:
            raise ApiError(503, "the server is about to stop")
        if sum(self.load()) + sequences > self._max_sequences:
            message = f"{self._max_sequences} replies run or wait already; try again later"
            raise ApiError(429, message, code="rate_limit_exceeded", headers={"Retry-After": "1"})

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """All of them or none; to be called by one thread only.

        Raises:
          ApiError: as `check_room`.
        """
        self.check_room(_sequences(tickets))
        with self._news:
            self._waiting.extend(tickets)
            self._news.notify()

    def cancel(self, tickets: Sequence[Ticket]) -> None:
        """Nobody wants these any more: those that wait end now, the others after the next dispatch."""
        with self._news:
            waiting = [ticket for ticket in tickets if ticket in self._waiting]
            for ticket in tickets:
                ticket.cancelled = True
            for ticket in waiting:
                self._waiting.remove(ticket)
                self._running[ticket.request.id] = ticket
        for ticket in waiting:
            self._end_all(ticket, "cancelled")

    def _work(self, mesh: jax.sharding.Mesh) -> None:
        with jax.set_mesh(mesh):
            while not self._closing or self._waiting or self._running:
                try:
                    self._generate()
                except Exception as error:  # whatever it was, the next request deserves a try
                    traceback.print_exc()
                    self._fail(f"error: the engine failed: {error}")

    def _generate(self) -> None:
        completions = self._engine.generate(
            self._requests(),
            self._decoding,
            on_tokens=self._show,
            cancelled=lambda id: self._running[id].cancelled,
        )
        for completion in completions:
            self._finish(completion)

    def _requests(self) -> Iterator[Request | None]:
        while not self._closing or self._waiting:
            ticket = self._next_ticket()
            wanted = ticket is not None and self._begin(ticket)
            yield ticket.request if wanted else None

    def _next_ticket(self) -> Ticket | None:
        with self._news:
            if not self._waiting and not self._running:
                self._news.wait(IDLE_S)
            if not self._waiting:
                return None
            ticket = self._waiting.popleft()
            self._running[ticket.request.id] = ticket
            return ticket

    def _begin(self, ticket: Ticket) -> bool:
        """Does what needs no slot; whether the engine is to have the rest."""
        self._count("prompt_tokens", len(ticket.request.tokens))
        error = self._score(ticket) if ticket.scores else None
        if error is None and ticket.replies:
            return True
        self._end_all(ticket, error or "length")
        return False

    def _score(self, ticket: Ticket) -> str | None:
        """Posts the prompt's scores; returns why that cannot be done."""
        try:
            scores = self._scorer.score(ticket.request.tokens)
        except Exception as error:  # the requests that run have no part in it
            traceback.print_exc()
            return f"error: the engine failed: {error}"
        if any(math.isnan(value) for value in scores.logprobs):
            return "error: non-finite logits"
        ticket.post("prompt", scores)
        return None

    def _show(self, partial: Completion) -> None:
        ticket = self._running[partial.id]
        if ticket.streams:
            ticket.post(partial.sample, partial)

    def _finish(self, completion: Completion) -> None:
        ticket = self._running[completion.id]
        self._count("generated_tokens", len(completion.tokens))
        self._count(f"ended:{completion.finish_reason.partition(':')[0]}", 1)
        with self._news:
            ticket.unfinished -= 1
            if ticket.unfinished == 0:
                del self._running[completion.id]
        ticket.post(completion.sample, completion)

    def _end_all(self, ticket: Ticket, reason: str) -> None:
        for sample in range(ticket.request.num_samples):
            self._finish(Completion(ticket.request.id, sample, (), (), reason))

    def _fail(self, reason: str) -> None:
        """Ends what the engine had, and gives it an empty cache."""
        with self._news:
            failed = list(self._running.values())
            self._running.clear()
        for ticket in failed:
            self._count("ended:error", ticket.unfinished)
            for sample in range(ticket.request.num_samples):  # one error fails a whole call
                ticket.post(sample, Completion(ticket.request.id, sample, (), (), reason))
        self._engine.release()

    def _count(self, name: str, number: int) -> None:
        with self._news:
            self.counts[name] += number


def _sequences(tickets: Iterable[Ticket]) -> int:
    """Replies that have not ended."""
    return sum(ticket.unfinished for ticket in tickets)
