"""The device's view of replies that start."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxreason.sampling.decoding import marks
from jaxreason.sampling.sequences import Reply
from jaxreason.sampling.slots import NEVER, Admission, Sizes

# More than nothing in the device's float32: the likeliest token stays.
LEAST_TOP_P, LEAST_TEMPERATURE = 1e-6, 1e-30


def make_admission(
    starting: Sequence[tuple[int, Reply]],
    sizes: Sizes,
    vocab_size: int,
    dirty: Sequence[Sequence[int]],
    thought: Callable[[Sequence[int]], bool],
) -> Admission:
    """What `Programs.admit` is given; numbers that the device's 32 bits do not hold are brought within them.

    Args:
      starting: (slot, reply) pairs.
      sizes: of the engine.
      vocab_size: of the model.
      dirty: each part's pages to clear.
      thought: whether a prompt holds the reply's think block, closed; asked where there is a budget.
    """

    def of_slots(value: Callable[[Reply], Any], dtype: type = np.int32, *shape: int) -> np.ndarray:
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
        close_at=of_slots(lambda reply: _close_at(reply, thought)),
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
    """0 is greedy; what is more stays so."""
    return max(wanted, LEAST_TEMPERATURE) if wanted else 0.0


def _close_at(reply: Reply, thought: Callable[[Sequence[int]], bool]) -> int:
    budget = reply.decoding.think_budget
    if not budget or thought(reply.request.tokens):
        return NEVER
    return min(len(reply.request.tokens) + budget, NEVER)


def _seen(reply: Reply, vocab_size: int) -> np.ndarray:
    """The prompt's tokens, where anything asks for them."""
    if reply.decoding.repetition_penalty == 1.0:
        return np.zeros(-(-vocab_size // 32), np.uint32)
    return marks(reply.request.tokens, vocab_size)


def _dirty(pages: Sequence[Sequence[int]], number: int) -> np.ndarray:
    marked = np.zeros((len(pages), number // len(pages)), bool)
    for part, numbers in zip(marked, pages, strict=True):
        part[list(numbers)] = True
    return marked.reshape(-1)
