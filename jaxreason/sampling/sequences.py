"""Sequences in slots: the host's record of a running one, and the data that the device gets about those that start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxreason.sampling.engine_config import EngineSizes
from jaxreason.sampling.sampler import token_bits
from jaxreason.sampling.sampling_params import Completion, Request, SamplingParams
from jaxreason.sampling.stopping import ThinkBlock

NEVER = 2**30  # An index that no token has.
# The least values that are used. They are above 0 in the device's float32 too, so that the most likely token stays.
LEAST_TOP_P, LEAST_TEMPERATURE = 1e-6, 1e-30


@dataclass
class RunningSequence:
    """A reply that a slot is writing."""

    request: Request
    sample: int
    decoding: SamplingParams
    limit: int  # The most tokens of the reply.
    pages: list[int]  # So far.
    shared: int  # How many of them belong to the prompt.
    most: int  # The most pages that it may come to hold.
    # A page of the prompt, and the reply's own page that starts as its copy.
    copy: tuple[int, int] = (0, 0)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)

    @property
    def position(self) -> int:
        """The position of the newest token, which the next step reads."""
        return len(self.request.tokens) - 1 + len(self.tokens)

    def complete(self, reason: str) -> Completion:
        """Returns the completion of the tokens so far."""
        return Completion(
            self.request.id,
            self.sample,
            tuple(self.tokens),
            tuple(self.logprobs),
            reason,
            tuple(self.top_logprobs),
        )

    def cut(self, length: int) -> None:
        """Drops all tokens after the first `length`."""
        del self.tokens[length:], self.logprobs[length:], self.top_logprobs[length:]


class Admission(NamedTuple):
    """The sequences that start, in the slots that `starts` marks; entries of other slots have no meaning.

    Page numbers count within a slot's part of the pool.
    """

    starts: Bool[Array, " B"]
    copy_from: Int[Array, " B"]  # The prompt's last page, which is only partly filled.
    # The sequence's own page that replaces it; 0 for no copy, also in slots that do not start.
    copy_to: Int[Array, " B"]
    token: Int[Array, " B"]  # The prompt's last token.
    position: Int[Array, " B"]  # Its index.
    last: Int[Array, " B"]
    close_at: Int[Array, " B"]
    seen: UInt32[Array, "B W"]
    seed: UInt32[Array, "B 2"]  # High and low word.
    sample: Int[Array, " B"]
    temperature: Float[Array, " B"]
    top_k: Int[Array, " B"]
    top_p: Float[Array, " B"]
    min_p: Float[Array, " B"]
    penalty: Float[Array, " B"]
    dirty: Bool[Array, " N"]  # Pages that are zeroed first.


def make_admission(
    starting: Sequence[tuple[int, RunningSequence]],
    sizes: EngineSizes,
    vocab_size: int,
    dirty: Sequence[Sequence[int]],
    think_block: Callable[[Sequence[int]], ThinkBlock],
) -> Admission:
    """Returns the argument of `DevicePrograms.admit`. Numbers that do not fit into the device's 32 bits are limited or
    split.

    Args:
      starting: (slot, reply) pairs.
      sizes: of the engine.
      vocab_size: of the model.
      dirty: each part's pages to clear.
      think_block: returns the state of the reply's think block after a prompt; called only if there is a budget.
    """

    def of_slots(
        value: Callable[[RunningSequence], Any], dtype: type = np.int32, *shape: int
    ) -> np.ndarray:
        out = np.zeros((sizes.slots, *shape), dtype)
        for slot, reply in starting:
            found = np.asarray(value(reply), dtype)
            out[(slot, *map(slice, found.shape))] = found
        return out

    return Admission(
        starts=of_slots(lambda reply: True, bool),
        copy_from=of_slots(lambda reply: reply.copy[0]),
        copy_to=of_slots(lambda reply: reply.copy[1]),
        token=of_slots(lambda reply: reply.request.tokens[-1]),
        position=of_slots(lambda reply: len(reply.request.tokens) - 1),
        last=of_slots(lambda reply: len(reply.request.tokens) + reply.limit - 1),
        close_at=of_slots(lambda reply: _close_at(reply, think_block)),
        seen=of_slots(lambda reply: _seen(reply, vocab_size), np.uint32, -(-vocab_size // 32)),
        seed=of_slots(lambda reply: divmod(reply.request.seed, 2**32), np.uint32, 2),
        sample=of_slots(lambda reply: reply.sample),
        temperature=of_slots(lambda reply: _temperature(reply.decoding.temperature), np.float32),
        top_k=of_slots(lambda reply: min(reply.decoding.top_k, vocab_size)),
        top_p=of_slots(lambda reply: max(reply.decoding.top_p, LEAST_TOP_P), np.float32),
        min_p=of_slots(lambda reply: reply.decoding.min_p, np.float32),
        penalty=of_slots(lambda reply: reply.decoding.repetition_penalty, np.float32),
        dirty=_dirty(dirty, sizes.pages),
    )


def _temperature(wanted: float) -> float:
    """Returns the temperature for the device: 0 stays 0 (greedy), and anything above 0 stays above 0."""
    return max(wanted, LEAST_TEMPERATURE) if wanted else 0.0


def _close_at(reply: RunningSequence, think_block: Callable[[Sequence[int]], ThinkBlock]) -> int:
    """Returns `SlotState.close_at`."""
    budget, prompt = reply.decoding.think_budget, reply.request.tokens
    block = think_block(prompt) if budget else "closed"
    if block == "closed":
        return NEVER
    index = min(len(prompt) + budget, NEVER)
    return index if block == "open" else -index


def _seen(reply: RunningSequence, vocab_size: int) -> np.ndarray:
    """Returns the bit mask of the prompt's tokens if the repetition penalty needs it, else zeros."""
    if reply.decoding.repetition_penalty == 1.0:
        return np.zeros(-(-vocab_size // 32), np.uint32)
    return token_bits(reply.request.tokens, vocab_size)


def _dirty(pages: Sequence[Sequence[int]], number: int) -> np.ndarray:
    marked = np.zeros((len(pages), number // len(pages)), bool)
    for part, numbers in zip(marked, pages, strict=True):
        part[list(numbers)] = True
    return marked.reshape(-1)
