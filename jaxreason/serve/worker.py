"""The one thread that uses the engine: a queue with an end in front of a `generate` that goes on for ever.

Between two calls of it weights are changed: what was in the queue before a change is answered with the old ones.
"""

import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import jax
from etils import epath

from jaxreason.errors import UserError
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Completion, Request, SamplingParams
from jaxreason.serve.errors import ApiError
from jaxreason.serve.orders import END, GENERATE, STOP, Orders
from jaxreason.serve.scores import PromptScorer
from jaxreason.serve.tickets import Change, Ticket, sequences, to_order
from jaxreason.serve.weights import Weights

STOPPING = "the server is about to stop"
IDLE_S = 0.05  # how long an idle engine waits for a request before it looks around


class Worker:
    """Takes tickets from any thread.

    Args:
      engine: nobody else uses it.
      scorer: of prompts.
      decoding: of requests without one.
      max_sequences: that run or wait at a time.
      weights: the engine's; None where they are never changed.
      orders: what is told to other processes; None: there are none.

    Attributes:
      counts: what has happened, for /metrics.
      error: what ended the thread before its time.
      on_error: called when that happens.
    """

    def __init__(
        self,
        engine: Engine,
        scorer: PromptScorer,
        decoding: SamplingParams,
        max_sequences: int,
        weights: Weights | None = None,
        orders: Orders | None = None,
    ):
        self._engine, self._scorer, self._decoding = engine, scorer, decoding
        self._max_sequences = max_sequences
        self._weights, self._orders = weights, orders or Orders()
        self._news = threading.Condition()
        self._waiting: deque[Ticket | Change] = deque()
        self._running: dict[str, Ticket] = {}
        self._closing, self._thread = False, None
        self.counts: Counter[str] = Counter()
        self.error: Exception | None = None
        self.on_error: Callable[[], None] = lambda: None

    def start(self, mesh: jax.sharding.Mesh) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._work, args=(mesh,), name="engine", daemon=True)
        self._thread.start()

    def stop(self, cancel: bool) -> None:
        """Takes no more tickets and returns when the last has been served, or, with `cancel`, dropped.

        A change of weights that has not begun is dropped.
        """
        with self._news:
            self._closing = True
            changes = [one for one in self._waiting if isinstance(one, Change)]
            for change in changes:
                self._waiting.remove(change)
            dropped = [*self._waiting, *self._running.values()] if cancel else []
            self._news.notify()
        for change in changes:
            change.done.set_exception(ApiError(503, STOPPING))
        self.cancel(dropped)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether tickets are taken."""
        return not self._closing and self._thread is not None and self._thread.is_alive()

    def load(self) -> tuple[int, int]:
        """Sequences that the engine has, and those that wait for it."""
        with self._news:
            return sequences(self._running.values()), sequences(self._waiting)

    def check_room(self, sequences: int) -> None:
        """Whether so many more could be taken now.

        Raises:
          ApiError: 429 if not; 503 when nothing is taken any more.
        """
        if not self.alive:
            raise ApiError(503, STOPPING)
        if sum(self.load()) + sequences > self._max_sequences:
            message = f"{self._max_sequences} replies run or wait already; try again later"
            raise ApiError(429, message, code="rate_limit_exceeded", headers={"Retry-After": "1"})

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """All of them or none; to be called by one thread only.

        Raises:
          ApiError: as `check_room`.
        """
        self.check_room(sequences(tickets))
        with self._news:
            if self._closing:  # since then
                raise ApiError(503, STOPPING)
            self._waiting.extend(tickets)
            self._news.notify()

    def change(self, folder: epath.Path) -> Future:
        """Has the weights changed when all that runs or waits now is answered; the future has what that raises.

        Raises:
          ApiError: 503 when nothing is taken any more.
        """
        change = Change(folder, Future())
        with self._news:
            if not self.alive:
                raise ApiError(503, STOPPING)
            self._waiting.append(change)
            self._news.notify()
        return change.done

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
            try:
                while (step := self._next_step()) != STOP:
                    if isinstance(step, Change):
                        self._change(step)
                    else:
                        self._generate()
            except Exception as error:
                self._break(error)

    def _next_step(self) -> str | Change:
        """What all processes do next; every one is told."""
        with self._news:
            step = GENERATE
            if isinstance(self._next(), Change):
                step = self._waiting.popleft()
            elif self._closing and not self._waiting and not self._running:
                step = STOP
        told = {"weights": str(step.folder)} if isinstance(step, Change) else step
        self._orders.tell(told)
        return step

    def _next(self) -> Ticket | Change | None:
        return self._waiting[0] if self._waiting else None

    def _change(self, change: Change) -> None:
        try:
            change.done.set_result(self._weights.change(change.folder))
        except Exception as error:
            change.done.set_exception(error)
            if not isinstance(error, UserError):
                raise

    def _break(self, error: Exception) -> None:
        """Ends what there is and takes nothing more."""
        traceback.print_exc()
        with self._news:
            self.error, self._closing = error, True
            waiting, self._waiting = list(self._waiting), deque()
            for one in waiting:
                if isinstance(one, Ticket):
                    self._running[one.request.id] = one
        for one in waiting:
            if isinstance(one, Change):
                one.done.set_exception(ApiError(503, STOPPING))
        self._fail(f"error: the engine failed: {error}")
        self.on_error()

    def _generate(self) -> None:
        try:
            for completion in self._completions():
                self._finish(completion)
        except Exception as error:
            if self._orders.several:  # the others are not where this one is
                raise
            traceback.print_exc()  # whatever it was, the next request deserves a try
            self._fail(f"error: the engine failed: {error}")
            self._engine.release()

    def _completions(self) -> Iterator[Completion]:
        how = {"on_tokens": self._show, "cancelled": lambda id: self._running[id].cancelled}
        if self._orders.several:
            how |= self._orders.cancelling(self._cancelled)
        return self._engine.generate(self._requests(), self._decoding, **how)

    def _cancelled(self) -> list[str]:
        with self._news:
            return [id for id, ticket in self._running.items() if ticket.cancelled]

    def _requests(self) -> Iterator[Request | None]:
        while not self._pauses():
            ticket = self._next_ticket()
            self._orders.tell(None if ticket is None else to_order(ticket))
            wanted = ticket is not None and self._begin(ticket)
            yield ticket.request if wanted else None
        self._orders.tell(END)

    def _pauses(self) -> bool:
        """Whether this call of `generate` has nothing more to do; until then it hears of what is cancelled."""
        with self._news:
            ends = self._closing and not self._waiting
            return not self._running and (ends or isinstance(self._next(), Change))

    def _next_ticket(self) -> Ticket | None:
        with self._news:
            if not self._waiting and not self._running:
                self._news.wait(IDLE_S)
            if not isinstance(self._next(), Ticket):
                return None
            ticket = self._waiting.popleft()
            self._running[ticket.request.id] = ticket
            return ticket

    def _begin(self, ticket: Ticket) -> bool:
        """Does what needs no slot; whether the engine is to have the rest."""
        ticket.fingerprint = None if self._weights is None else self._weights.fingerprint
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
            if self._orders.several:
                raise
            traceback.print_exc()
            return f"error: the engine failed: {error}"
        if not scores.are_numbers:
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
        """Ends what the engine had."""
        with self._news:
            failed = list(self._running.values())
            self._running.clear()
        for ticket in failed:
            self._count("ended:error", ticket.unfinished)
            for sample in range(ticket.request.num_samples):  # one error fails a whole call
                ticket.post(sample, Completion(ticket.request.id, sample, (), (), reason))

    def _count(self, name: str, number: int) -> None:
        with self._news:
            self.counts[name] += number
