"""The `plan` section of a recipe."""

from dataclasses import dataclass
from typing import Annotated, Any

from jaxreason.config import at_least


@dataclass(frozen=True)
class PlanConfig:
    """What a plan cannot find out itself.

    Attributes:
      architecture: settings of the model's Hugging Face config.json, used where `model.path` is not a folder here.
      examples: that an epoch of `sft` has; 0 = not known.
      reply_tokens: mean length of the replies of `rl`; 0 = not known.
    """

    architecture: dict[str, Any]
    examples: Annotated[int, at_least(0)]
    reply_tokens: Annotated[int, at_least(0)]
