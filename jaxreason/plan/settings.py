"""The `plan` section of a recipe."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from jaxreason.config import at_least, unclaimed


@unclaimed("nothing is kept")
@dataclass(frozen=True)
class PlanConfig:
    """What a plan cannot find out itself."""

    architecture: dict[str, Any]
    """Settings of the model's Hugging Face config.json, used where `model.path` is not a folder here."""
    examples: Annotated[int, at_least(0)] = 0
    """That an epoch of `sft` has; 0 = not known."""
    reply_tokens: Annotated[int, at_least(0)] = 0
    """Mean length of the replies of `rl`; 0 = not known."""
    slice: str = ""
    """Where a study would run, for its `--dry-run`; "" = this machine."""
    example_tokens: Annotated[int, at_least(0)] = 0
    """Mean length of an example of `sft`, prompt and reply; 0 = not known, then as long as a row."""
    eval_tokens: Annotated[int, at_least(0)] = 0
    """Mean length of the replies of an evaluation; 0 = half of what they may have."""
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arm of a study -> what it changes of the fields above."""
