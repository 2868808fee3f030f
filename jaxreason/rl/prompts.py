"""Which questions belong to which step: a function of (seed, step) alone. None is twice in a batch.

So resuming needs only the step, and replies that were in flight at a kill come out the same again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.sampling.sampling_params import Request

_ORDER, _EXTRA, _SAMPLING, _GIVEN = 0, 1, 2, 3  # streams of random numbers that must not meet


class Given(NamedTuple):
    """A reply that a question comes with: its tokens, the end of the turn included, and their text."""

    tokens: Int[np.ndarray, " T"]
    text: str


@dataclass(frozen=True)
class Prompt:
    """A question and its tokens, chat template and generation prompt included.

    Attributes:
      example: the question.
      tokens: of the prompt.
      replies: those that its row gives, where the recipe asks for them.
    """

    example: Example
    tokens: tuple[int, ...]
    replies: tuple[Given, ...] = ()


@dataclass(frozen=True)
class Questions:
    """The training questions, in the order in which `seed` asks them.

    Attributes:
      prompts: all of them.
      per_batch: prompts in a generation batch.
      seed: of the run.

    Raises:
      UserError: there are fewer questions than a batch asks.
    """

    prompts: Sequence[Prompt]
    per_batch: int
    seed: int

    def __post_init__(self):
        if len(self.prompts) < self.per_batch:
            raise UserError(
                f"rl: a generation batch asks {self.per_batch} questions, none of them twice, and the datasets have "
                f"{len(self.prompts)} whose prompts fit. Lower rl.prompts_per_step (and "
                "rl.dynamic_sampling.prompts_per_batch, where it is set), or give more questions."
            )

    def batch(self, step: int, number: int) -> list[Prompt]:
        """The prompts of generation batch `number` (0, 1, ...) of a step (counted from 0).

        The first batches of all steps go through the questions in epochs, each shuffled anew; a
        batch that ends one epoch and begins the next takes from the next what it has not asked.
        Where the questions fill fewer than two batches, each step draws its batch anew. A further
        batch of a step is drawn from the questions that the step has not asked yet, as long as
        there are any.
        """
        return [self.prompts[index] for index in self.indices(step, number)]

    def indices(self, step: int, number: int) -> Int[np.ndarray, "P"]:
        """As `batch`, as indices of `prompts`."""
        asked = np.zeros(len(self.prompts), bool)
        batch = self._first_batch(step)
        for further in range(1, number + 1):
            asked[batch] = True
            random = np.random.default_rng((self.seed, _EXTRA, step, further))
            shuffled = random.permutation(len(self.prompts))
            batch = shuffled[np.argsort(asked[shuffled], kind="stable")][: self.per_batch]
        return batch

    def _first_batch(self, step: int) -> np.ndarray:
        num, size = len(self.prompts), self.per_batch
        if num < 2 * size:
            return self._shuffled(step)[:size]
        epoch, start = divmod(step * size, num)
        rest = self._epoch(epoch)[start : start + size]
        return np.concatenate([rest, self._epoch(epoch + 1)[: size - len(rest)]])

    def _epoch(self, epoch: int) -> np.ndarray:
        """The order of an epoch. Its first batch may have begun in the epoch before: what that asked at its end is
        moved behind the questions that complete the batch. This changes no later place than the size of a batch, so
        the end of an epoch of two batches or more does not depend on the epochs before it.
        """
        num, size = len(self.prompts), self.per_batch
        order, missing = self._shuffled(epoch), -epoch * num % size
        if missing == 0:
            return order
        asked = np.isin(order, self._shuffled(epoch - 1)[num - (size - missing) :])
        first = order[~asked][:missing]
        return np.concatenate([first, order[~np.isin(order, first)]])

    def _shuffled(self, number: int) -> np.ndarray:
        random = np.random.default_rng((self.seed, _ORDER, number))
        return random.permutation(len(self.prompts))


def requests(
    prompts: Sequence[Prompt], seed: int, step: int, number: int, num_samples: int
) -> list[Request]:
    """What the engine is asked for: `num_samples` replies to each prompt.

    The random numbers of a reply depend on (seed, step, batch, place in the batch, sample) only.
    """
    return [
        Request(
            id=str(index),
            tokens=prompt.tokens,
            seed=_sampling_seed(seed, step, number, index),
            num_samples=num_samples,
        )
        for index, prompt in enumerate(prompts)
    ]


def draw_given(
    prompt: Prompt, num: int, seed: int, step: int, number: int, index: int
) -> list[Given]:
    """`num` of a prompt's replies, none twice, or all that it has; which ones depends on (seed, step, batch, place)."""
    random = np.random.default_rng((seed, _GIVEN, step, number, index))
    return [prompt.replies[i] for i in random.permutation(len(prompt.replies))[:num]]


def _sampling_seed(*coordinates: int) -> int:
    sequence = np.random.SeedSequence((_SAMPLING, *coordinates))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)  # fits a signed 32-bit integer
