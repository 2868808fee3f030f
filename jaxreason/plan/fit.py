"""The largest sizes that fit: a line through two compiles, and where nothing fits, what would."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from jaxreason.plan.program_costs import ProgramCost
from jaxreason.plan.slices import Slice, larger
from jaxreason.rl.rl_config import RLConfig
from jaxreason.training.sft_config import SFTConfig

STEP = 128  # lengths are multiples of it


@dataclass(frozen=True)
class Line:
    """Bytes in use as a line over a size.

    Attributes:
      field: the recipe's field that is varied.
      sizes: the two that were compiled.
      totals: bytes at them.
    """

    field: str
    sizes: tuple[float, float]
    totals: tuple[float, float]

    @property
    def slope(self) -> float:
        """Bytes for one more."""
        return (self.totals[1] - self.totals[0]) / (self.sizes[1] - self.sizes[0])

    def largest(self, limit: float, step: int, most: float) -> int:
        """The largest multiple of `step` up to `most` whose bytes are within `limit`; 0 if none is."""
        if self.slope <= 0:
            return int(most // step * step)
        room = (limit - self.totals[0]) / self.slope + self.sizes[0]
        return max(int(min(room, most) // step * step), 0)


def shorter(config: Any, factor: int) -> Any:
    """The recipe's section with rows of a `factor`-th of the length."""
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
    """Half the decode slots, or twice as many where they cannot be halved."""
    per_part = config.sampler.slots // parts
    slots = max(per_part // 2, 1) * parts if per_part > 1 else 2 * parts
    return dataclasses.replace(config, sampler=dataclasses.replace(config.sampler, slots=slots))


def length_of(config: Any) -> int:
    """Tokens of a training row."""
    return config.length if isinstance(config, SFTConfig) else config.row_length


def next_slice(measured: list[ProgramCost], slice_: Slice) -> str | None:
    """The smallest larger slice of the generation with room, its state split further and the rest alike."""
    for candidate in larger(slice_):
        share = slice_.devices / candidate.devices

        def total(found: ProgramCost, share: float = share) -> float:
            state = found.held["params"] + found.held["optimizer"]
            return found.total - state * (1 - share)

        if all(total(found) <= candidate.kind.hbm for found in measured):
            return candidate.name
    return None
