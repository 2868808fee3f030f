"""Finds the largest sizes that fit: draws a line through two compiled sizes, and proposes changes if nothing fits."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from jaxreason.plan.program_costs import ProgramCost
from jaxreason.plan.slices import Slice, larger
from jaxreason.rl.rl_config import RLConfig
from jaxreason.training.sft_config import SFTConfig

STEP = 128  # Lengths are multiples of this.


@dataclass(frozen=True)
class Line:
    """Bytes in use as a linear function of a size.

    Attributes:
      field: the recipe's field that is varied.
      sizes: the two sizes that were compiled.
      totals: the bytes in use at these sizes.
    """

    field: str
    sizes: tuple[float, float]
    totals: tuple[float, float]

    @property
    def slope(self) -> float:
        """The additional bytes if the size grows by one."""
        return (self.totals[1] - self.totals[0]) / (self.sizes[1] - self.sizes[0])

    def largest(self, limit: float, step: int, most: float) -> int:
        """Returns the largest multiple of `step` up to `most` whose bytes are within `limit`; 0 if there is none."""
        if self.slope <= 0:
            return int(most // step * step) if max(self.totals) <= limit else 0
        room = (limit - self.totals[0]) / self.slope + self.sizes[0]
        return max(int(min(room, most) // step * step), 0)


def shorter(config: Any, factor: int) -> Any:
    """Returns the recipe's section with rows whose length is divided by `factor`."""
    if isinstance(config, SFTConfig):
        return dataclasses.replace(config, length=config.length // factor)
    assert isinstance(config, RLConfig), config
    decoding = dataclasses.replace(config.decoding, max_tokens=config.decoding.max_tokens // factor)
    rewards = dataclasses.replace(config.rewards, overlong_buffer=0)
    sampler = dataclasses.replace(config.sampler, max_length=config.sampler.max_length // factor)
    return dataclasses.replace(
        config,
        decoding=decoding,
        sampler=sampler,
        rewards=rewards,
        row_length=config.row_length // factor,
    )


def other_slots(config: RLConfig, parts: int) -> RLConfig:
    """Returns the section with half the decode slots, or with twice as many if they cannot be halved."""
    per_part = config.sampler.slots // parts
    slots = max(per_part // 2, 1) * parts if per_part > 1 else 2 * parts
    return dataclasses.replace(config, sampler=dataclasses.replace(config.sampler, slots=slots))


def length_of(config: Any) -> int:
    """Returns the tokens of a training row."""
    return config.length if isinstance(config, SFTConfig) else config.row_length


def next_slice(measured: list[ProgramCost], slice_: Slice) -> str | None:
    """Returns the smallest larger slice of the generation that has room if only the state is split further."""
    for candidate in larger(slice_):
        share = slice_.devices / candidate.devices

        def total(found: ProgramCost, share: float = share) -> float:
            state = found.held["params"] + found.held["optimizer"]
            return found.total - state * (1 - share)

        if all(total(found) <= candidate.kind.hbm for found in measured):
            return candidate.name
    return None
