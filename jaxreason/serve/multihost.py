"""Serves a model on several processes: process 0 listens to clients, and all make the same calls of their engines.

A dispatch on a mesh of several hosts runs only if every process makes it. So before each dispatch, process 0 tells the
others which prompts have arrived and which were cancelled, and they repeat what its `EngineThread` does.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from jaxreason.errors import UserError
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.serve.prompt_logprobs import PromptScorer
from jaxreason.serve.weight_updates import LoadedWeights

# A broadcast is one gather of 512 bytes: 8 for the message's length, 1 for the wish of a process to end, and the
# message itself if it is short. Only a long message needs a second collective.
HEAD, SHORT = 9, 503
# The next step of all processes; an object in place of these means new weights.
STOP, GENERATE = "stop", "generate"
END = "end"  # The end of the requests of one `generate`.


class ControlChannel:
    """Sends messages from process 0 to all. `broadcast` is a collective: every process must call it equally often.

    Args:
      on_end_requested: called on process 0, once, when another process asks all to end.

    Attributes:
      has_followers: whether there are other processes.
    """

    def __init__(self, on_end_requested: Callable[[], None] = lambda: None):
        self._on_end_requested = on_end_requested
        # A signal handler sets `_asks_end`, and the next broadcast carries it.
        self._asks_end, self._end_requested = False, False
        self.has_followers = jax.process_count() > 1

    def request_end(self) -> None:
        """Asks process 0 to end; the next broadcast carries the wish."""
        self._asks_end = True

    def broadcast(self, value: Any = None) -> Any:
        """Returns process 0's value on every process. It must be a JSON value."""
        if not self.has_followers:
            return value
        data = json.dumps(value).encode() if jax.process_index() == 0 else b""
        first = np.zeros(HEAD + SHORT, np.uint8)
        first[:8] = np.frombuffer(len(data).to_bytes(8, "little"), np.uint8)
        first[8] = self._asks_end
        first[HEAD : HEAD + len(data)] = np.frombuffer(data[:SHORT], np.uint8)
        all_first = np.asarray(multihost_utils.process_allgather(first))
        self._hear(bool(all_first[:, 8].any()))
        length = int.from_bytes(all_first[0, :8].tobytes(), "little")
        told = all_first[0, HEAD : HEAD + length].tobytes()
        return json.loads(told if length <= SHORT else told + _rest(data, length))

    def cancellation(self, cancelled: Callable[[], list[str]] = list) -> dict[str, Callable]:
        """Returns arguments of `Engine.generate` that make all processes end the same requests after the same dispatch.

        Args:
          cancelled: returns the ids of requests that are no longer wanted; only process 0's answer counts.
        """
        told: set[str] = set()

        def check() -> None:
            told.clear()
            told.update(self.broadcast(cancelled()))

        return {"check": check, "cancelled": told.__contains__}

    def _hear(self, end: bool) -> None:
        if end and not self._end_requested and jax.process_index() == 0:
            self._end_requested = True
            self._on_end_requested()


def _rest(data: bytes, length: int) -> bytes:
    """Returns the part of a long message that did not fit beside its head."""
    size = length - SHORT
    # Sizes are powers of two, so that few programs are compiled.
    buffer = np.zeros(1 << size.bit_length(), np.uint8)
    if data:
        buffer[:size] = np.frombuffer(data[SHORT:], np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(buffer))[:size].tobytes()


def follow(
    engine: Engine,
    scorer: PromptScorer,
    decoding: SamplingParams,
    weights: LoadedWeights,
    channel: ControlChannel,
) -> None:
    """Runs on every process but 0 until process 0 says that it is over. An exception here ends the whole job."""
    while (step := channel.broadcast()) != STOP:
        if isinstance(step, dict):
            _load_weights(weights, step["weights"])
            continue
        how = channel.cancellation()
        # All processes sample the same replies; process 0 sends them to the clients.
        for _ in engine.generate(_requests(channel, scorer), decoding, **how):
            pass


def _load_weights(weights: LoadedWeights, folder: str) -> None:
    try:
        weights.load(epath.Path(folder))
    except UserError:
        return  # It was raised on process 0 too, which tells the client.


def _requests(channel: ControlChannel, scorer: PromptScorer) -> Iterator[Request | None]:
    while (prompt := channel.broadcast()) != END:
        if prompt is None:
            yield None
            continue
        request = _request_of(prompt["request"])
        good = not prompt["wants_logprobs"] or scorer.score(request.tokens).are_numbers
        yield request if good and prompt["wants_replies"] else None


def _request_of(fields: dict[str, Any]) -> Request:
    """Makes a request from JSON, which has lists in place of tuples."""
    decoding = fields["decoding"]
    if decoding is not None:
        decoding = SamplingParams(**decoding | {"stop": tuple(decoding["stop"])})
    return Request(**fields | {"tokens": tuple(fields["tokens"]), "decoding": decoding})
