"""The only thread that uses the engine, and the bounded queue in front of it.

The engine is not thread-safe, and a dispatch blocks for milliseconds to seconds. So it has a thread of its own:

- The event loop calls `submit`, `cancel`, `check_room` and `load`; the threads of `weight_updates` call
  `update_weights`. These methods only touch the queue and the flags, under the lock `_news`.
- The engine's thread calls everything below `_work`. Only this thread uses the engine, the scorer and the weights.
- Results leave through `QueuedPrompt.post`, which any thread may call.

One call of `Engine.generate` lasts as long as prompts arrive: a generator that waits on the queue hands them over.
The call ends when new weights are at the head of the queue. So prompts that arrived before new weights are
answered with the old ones.
"""

import dataclasses
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import jax
from etils import epath

from jaxreason.errors import UserError
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Completion, Request, SamplingParams
from jaxreason.serve.api_errors import ApiError
from jaxreason.serve.multihost import END, GENERATE, STOP, ControlChannel
from jaxreason.serve.prompt_logprobs import PromptScorer
from jaxreason.serve.weight_updates import LoadedWeights

STOPPING = "the server is about to stop"
# How long an idle engine waits for a prompt. Then it tells the other processes that there is none, and learns of a
# signal that one of them has received.
IDLE_S = 0.05


@dataclass(eq=False)
class QueuedPrompt:
    """A prompt of a job.

    Attributes:
      request: the request for the engine.
      post: receives (sample, Completion), and ("prompt", PromptLogprobs) if wanted; the engine's thread calls it.
      streams: whether unfinished replies are posted too.
      wants_logprobs: whether the prompt's log-probabilities are wanted.
      wants_replies: whether replies are wanted.
      cancelled: whether the results are no longer wanted.
      fingerprint: fingerprint of the weights that answer it; None before it has begun.
      unfinished: number of its replies that have not ended.
    """

    request: Request
    post: Callable[[Any, Any], None]
    streams: bool
    wants_logprobs: bool
    wants_replies: bool
    cancelled: bool = False
    fingerprint: str | None = None
    unfinished: int = field(init=False)

    def __post_init__(self) -> None:
        self.unfinished = self.request.num_samples

    def to_json(self) -> dict[str, Any]:
        """Returns the fields that the other processes need, as JSON."""
        return {
            "request": dataclasses.asdict(self.request),
            "wants_logprobs": self.wants_logprobs,
            "wants_replies": self.wants_replies,
        }


@dataclass(eq=False)
class QueuedWeights:
    """New weights in the queue: their folder, and the future that is set when they are loaded."""

    folder: epath.Path
    done: Future
    unfinished: int = 0  # The queue counts unfinished replies; weights count as none.


class EngineThread:
    """Runs the engine in a thread of its own and takes prompts from other threads.

    Args:
      engine: the engine; nobody else may use it.
      scorer: scores prompts.
      decoding: the decoding of requests that have none.
      max_sequences: the most replies that may run or wait at the same time.
      weights: the engine's weights; None if they are never changed.
      channel: the channel to the other processes; None if there are none.

    Attributes:
      error: the error that ended the thread before it was stopped.
      on_error: called when that happens.
    """

    def __init__(
        self,
        engine: Engine,
        scorer: PromptScorer,
        decoding: SamplingParams,
        max_sequences: int,
        weights: LoadedWeights | None = None,
        channel: ControlChannel | None = None,
    ):
        self._engine, self._scorer, self._decoding = engine, scorer, decoding
        self._max_sequences = max_sequences
        self._weights, self._channel = weights, channel or ControlChannel()
        # Guards the queue, the running prompts and the counts. It is notified when something is added to the queue.
        self._news = threading.Condition()
        self._waiting: deque[QueuedPrompt | QueuedWeights] = deque()
        self._running: dict[str, QueuedPrompt] = {}
        self._closing, self._thread = False, None
        self._counts: Counter[str] = Counter()
        self.error: Exception | None = None
        self.on_error: Callable[[], None] = lambda: None

    def start(self, mesh: jax.sharding.Mesh) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._work, args=(mesh,), name="engine", daemon=True)
        self._thread.start()

    def stop(self, cancel: bool) -> None:
        """Accepts nothing more, and returns when all prompts are served or, with `cancel`, dropped.

        New weights that are still in the queue are dropped.
        """
        with self._news:
            self._closing = True
            updates = [one for one in self._waiting if isinstance(one, QueuedWeights)]
            for update in updates:
                self._waiting.remove(update)
            dropped = [*self._waiting, *self._running.values()] if cancel else []
            self._news.notify()
        for update in updates:
            update.done.set_exception(ApiError(503, STOPPING))
        # The lock is released first: setting a future runs its callbacks in this thread.
        self.cancel(dropped)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether prompts are accepted."""
        return not self._closing and self._thread is not None and self._thread.is_alive()

    def load(self) -> tuple[int, int]:
        """Returns the number of replies that the engine is working on, and of those that wait."""
        with self._news:
            return _unfinished(self._running.values()), _unfinished(self._waiting)

    def counts(self) -> dict[str, int]:
        """Returns the tokens of prompts and of ended replies, and `ended:REASON` for each reason of an end."""
        with self._news:
            return dict(self._counts)

    def check_room(self, sequences: int) -> None:
        """Checks that so many more replies could be accepted now.

        Raises:
          ApiError: 429 if not; 503 if the server is stopping.
        """
        if not self.alive:
            raise ApiError(503, STOPPING)
        if sum(self.load()) + sequences > self._max_sequences:
            message = f"{self._max_sequences} replies run or wait already; try again later"
            raise ApiError(429, message, code="rate_limit_exceeded", headers={"Retry-After": "1"})

    def submit(self, prompts: Sequence[QueuedPrompt]) -> None:
        """Accepts all prompts or none.

        Only one thread may call it. Otherwise two threads could both find the same last places free.

        Raises:
          ApiError: as `check_room`.
        """
        self.check_room(_unfinished(prompts))
        with self._news:
            if self._closing:  # Another thread may have stopped the server since the check.
                raise ApiError(503, STOPPING)
            self._waiting.extend(prompts)
            self._news.notify()

    def update_weights(self, folder: epath.Path) -> Future:
        """Loads new weights after everything that runs or waits now; an error while loading is set on the future.

        Raises:
          ApiError: 503 if the server is stopping.
        """
        update = QueuedWeights(folder, Future())
        with self._news:
            if not self.alive:
                raise ApiError(503, STOPPING)
            self._waiting.append(update)
            self._news.notify()
        return update.done

    def cancel(self, prompts: Sequence[QueuedPrompt]) -> None:
        """Says that these prompts are no longer wanted. Waiting ones end now, running ones after the next dispatch."""
        with self._news:
            waiting = [prompt for prompt in prompts if prompt in self._waiting]
            for prompt in prompts:
                prompt.cancelled = True
            for prompt in waiting:
                self._waiting.remove(prompt)  # The engine never sees it.
            self._counts["ended:cancelled"] += _unfinished(waiting)
        for prompt in waiting:
            _post_ends(prompt, "cancelled")

    def _work(self, mesh: jax.sharding.Mesh) -> None:
        with jax.set_mesh(mesh):
            try:
                while (step := self._next_step()) != STOP:
                    if isinstance(step, QueuedWeights):
                        self._load_weights(step)
                    else:
                        self._generate()
            except Exception as error:
                self._break(error)

    def _next_step(self) -> str | QueuedWeights:
        """Returns the next step of all processes. Process 0 decides it and tells the others."""
        with self._news:
            step = GENERATE
            if isinstance(self._next(), QueuedWeights):
                step = self._waiting.popleft()
            elif self._closing and not self._waiting and not self._running:
                step = STOP
        is_update = isinstance(step, QueuedWeights)
        self._channel.broadcast({"weights": str(step.folder)} if is_update else step)
        return step

    def _next(self) -> QueuedPrompt | QueuedWeights | None:
        return self._waiting[0] if self._waiting else None

    def _load_weights(self, update: QueuedWeights) -> None:
        try:
            update.done.set_result(self._weights.load(update.folder))
        except Exception as error:
            update.done.set_exception(error)
            # After a UserError the engine still has weights; after any other error it has none.
            if not isinstance(error, UserError):
                raise

    def _break(self, error: Exception) -> None:
        """Ends all prompts with an error and accepts nothing more."""
        traceback.print_exc()
        with self._news:
            self.error, self._closing = error, True
            waiting, self._waiting = list(self._waiting), deque()
            # Waiting prompts count as running, so that `_fail` ends them too.
            for one in waiting:
                if isinstance(one, QueuedPrompt):
                    self._running[one.request.id] = one
        for one in waiting:
            if isinstance(one, QueuedWeights):
                one.done.set_exception(ApiError(503, STOPPING))
        self._fail(f"error: the engine failed: {error}")
        self.on_error()

    def _generate(self) -> None:
        try:
            for completion in self._completions():
                self._finish(completion)
        except Exception as error:
            # Other processes are still inside their dispatch, so there is no common state to continue from.
            # Nor can an engine go on that fails without a prompt: it would fail again at once, and so without end.
            if self._channel.has_followers or not self._running:
                raise
            # Memory may have been too small for these prompts only, so the next ones are tried with an empty engine.
            traceback.print_exc()
            self._fail(f"error: the engine failed: {error}")
            self._engine.release()

    def _completions(self) -> Iterator[Completion]:
        how = {"on_tokens": self._show, "cancelled": lambda id: self._running[id].cancelled}
        if self._channel.has_followers:
            how |= self._channel.cancellation(self._cancelled)
        return self._engine.generate(self._requests(), self._decoding, **how)

    def _cancelled(self) -> list[str]:
        with self._news:
            return [id for id, prompt in self._running.items() if prompt.cancelled]

    def _requests(self) -> Iterator[Request | None]:
        """Yields the requests for `generate`; None if there is none right now, so that
        `generate` continues to decode.
        """
        while not self._is_done():
            prompt = self._next_prompt()
            # Every turn makes exactly one broadcast; the other processes make one too and repeat this turn.
            self._channel.broadcast(None if prompt is None else prompt.to_json())
            wanted = prompt is not None and self._begin(prompt)
            yield prompt.request if wanted else None
        self._channel.broadcast(END)

    def _is_done(self) -> bool:
        """Whether this call of `generate` has nothing more to do.

        While a reply runs there is more to do: each turn of the generator tells other processes of cancelled prompts.
        """
        with self._news:
            ends = self._closing and not self._waiting
            return not self._running and (ends or isinstance(self._next(), QueuedWeights))

    def _next_prompt(self) -> QueuedPrompt | None:
        with self._news:
            if not self._waiting and not self._running:
                self._news.wait(IDLE_S)
            if not isinstance(self._next(), QueuedPrompt):
                return None
            prompt = self._waiting.popleft()
            self._running[prompt.request.id] = prompt
            return prompt

    def _begin(self, prompt: QueuedPrompt) -> bool:
        """Scores the prompt if that is wanted; returns whether the engine should sample replies."""
        prompt.fingerprint = None if self._weights is None else self._weights.fingerprint
        self._count("prompt_tokens", len(prompt.request.tokens))
        error = self._score(prompt) if prompt.wants_logprobs else None
        if error is None and prompt.wants_replies:
            return True
        self._end_all(prompt, error or "length")
        return False

    def _score(self, prompt: QueuedPrompt) -> str | None:
        """Posts the prompt's log-probabilities; returns None, or the reason why there are none."""
        try:
            found = self._scorer.score(prompt.request.tokens)
        except Exception as error:  # The replies that are running continue.
            if self._channel.has_followers:
                raise
            traceback.print_exc()
            return f"error: the engine failed: {error}"
        if not found.are_numbers:
            return "error: non-finite logits"
        prompt.post("prompt", found)
        return None

    def _show(self, partial: Completion) -> None:
        prompt = self._running[partial.id]
        if prompt.streams:
            prompt.post(partial.sample, partial)

    def _finish(self, completion: Completion) -> None:
        prompt = self._running[completion.id]
        self._count("generated_tokens", len(completion.tokens))
        self._count(f"ended:{completion.finish_reason.partition(':')[0]}", 1)
        with self._news:
            prompt.unfinished -= 1
            if prompt.unfinished == 0:
                del self._running[completion.id]
        prompt.post(completion.sample, completion)

    def _end_all(self, prompt: QueuedPrompt, reason: str) -> None:
        for sample in range(prompt.request.num_samples):
            self._finish(Completion(prompt.request.id, sample, (), (), reason))

    def _fail(self, reason: str) -> None:
        """Ends the running prompts with an error, after the engine has lost them."""
        with self._news:
            failed = list(self._running.values())
            self._running.clear()
        for prompt in failed:
            self._count("ended:error", prompt.unfinished)
            _post_ends(prompt, reason)  # One error fails the whole job.

    def _count(self, name: str, number: int) -> None:
        with self._news:
            self._counts[name] += number


def _post_ends(prompt: QueuedPrompt, reason: str) -> None:
    """Posts an end without tokens for each of the prompt's replies."""
    for sample in range(prompt.request.num_samples):
        prompt.post(sample, Completion(prompt.request.id, sample, (), (), reason))


def _unfinished(queue: Iterable[QueuedPrompt | QueuedWeights]) -> int:
    """Counts the replies that have not ended."""
    return sum(one.unfinished for one in queue)
