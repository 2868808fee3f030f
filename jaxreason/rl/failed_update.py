"""Which update of a step of RL gave a number that is none, and on which questions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreason.rl.generation import Collected
from jaxreason.rl.rollouts import Rollouts
from jaxreason.training.not_finite import Failed, wrong_numbers
from jaxreason.training.step import NOT_FINITE


def failed_update(
    collected: Collected, batches: Sequence[Rollouts], measured: Sequence[dict[str, Any]]
) -> Failed:
    """The first update of a step that measured NaN or infinity, and its mini-batch.

    Args:
      collected: the step's groups.
      batches: its mini-batches.
      measured: by each of its updates, which go over the mini-batches in turn.
    """
    trained = [group.example.id for group in collected.trained_groups]
    for number, found in enumerate(measured):
        if _wrong(found):
            index = number % len(batches)
            share = np.array_split(np.arange(len(trained)), len(batches))[index]
            return Failed([trained[i] for i in share], batches[index], found[NOT_FINITE])
    return Failed([group.example.id for group in collected.groups], None, None)


def _wrong(found: dict[str, Any]) -> bool:
    scalars = {name: x for name, x in found.items() if np.ndim(x) == 0}
    return bool(wrong_numbers(scalars)) or bool(np.any(found[NOT_FINITE]))
