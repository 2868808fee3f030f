"""Which questions belong to which step: a function of (seed, step) alone.

So resuming needs only the step, and replies that were in flight at a kill come out the same again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from jaxreason.data.examples import Example
from jaxreason.sampling.engine import Request

_ORDER, _EXTRA, _SAMPLING = 0, 1, 2  # streams of random numbers that must not meet


@dataclass(frozen=True)
class Prompt:
    """A question and its tokens, chat template and generation prompt included."""

    example: Example
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Questions:
    """The training questions, in the order in which `seed` asks them.

    Attributes:
      prompts: all of them.
      per_batch: prompts in a generation batch.
      seed: of the run.
    """

    prompts: Sequence[Prompt]
    per_batch: int
    seed: int

    def batch(self, step: int, number: int) -> list[Prompt]:
        """The prompts of generation batch `number` (0, 1, ...) of a step (counted from 0).

        The first batches of all steps go through the questions in epochs, each shuffled anew. A
        further batch of a step is drawn from the questions that the step has not asked yet, as
        long as there are any.
        """
        return [self.prompts[index] for index in self.indices(step, number)]

    def indices(self, step: int, number: int) -> Int[np.ndarray, "P"]:
        """As `batch`, as indices of `prompts`."""
        if number == 0:
            first, start = divmod(step * self.per_batch, len(self.prompts))
            last = (step * self.per_batch + self.per_batch - 1) // len(self.prompts)
            order = np.concatenate([self._epoch(epoch) for epoch in range(first, last + 1)])
            return order[start : start + self.per_batch]
        asked = np.concatenate([self.indices(step, earlier) for earlier in range(number)])
        random = np.random.default_rng((self.seed, _EXTRA, step, number))
        shuffled = random.permutation(len(self.prompts))
        fresh_first = shuffled[np.argsort(np.isin(shuffled, asked), kind="stable")]
        return np.resize(fresh_first, self.per_batch)

    def _epoch(self, epoch: int) -> np.ndarray:
        random = np.random.default_rng((self.seed, _ORDER, epoch))
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


def _sampling_seed(*coordinates: int) -> int:
    sequence = np.random.SeedSequence((_SAMPLING, *coordinates))
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)  # fits a signed 32-bit integer
