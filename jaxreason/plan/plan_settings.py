"""The `plan` section of a recipe, and how it is completed from data on this machine."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

from etils import epath

from jaxreason.config import at_least, unclaimed
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.huggingface import ModelConfig
from jaxreason.training.sft_config import SFTConfig


@unclaimed("nothing is kept")
@dataclass(frozen=True)
class PlanConfig:
    """Facts that a plan cannot find out by itself."""

    architecture: dict[str, Any]
    """Settings of the model's Hugging Face config.json, used if `model.path` is not a folder on this machine."""
    examples: Annotated[int, at_least(0)] = 0
    """Examples of an epoch of `sft`; 0 = unknown."""
    reply_tokens: Annotated[int, at_least(0)] = 0
    """Mean tokens of a reply of `rl`; 0 = unknown."""
    prompt_tokens: Annotated[int, at_least(0)] = 0
    """Mean tokens of a prompt of `rl`; 0 = unknown, and then the longest that fit are assumed."""
    slice: str = ""
    """The slice on which a study would run, for `--dry-run`; "" = this machine."""
    example_tokens: Annotated[int, at_least(0)] = 0
    """Mean tokens of an example of `sft`, prompt and reply; 0 = unknown, and then the length of a row is assumed."""
    eval_tokens: Annotated[int, at_least(0)] = 0
    """Mean tokens of a reply of an evaluation; 0 = half of the allowed length."""
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arm of a study -> changes to the fields above."""


def with_local_examples(
    plan: PlanConfig | None, config: SFTConfig, model_config: ModelConfig
) -> PlanConfig:
    """Returns the `plan` section with the number of examples and their mean length, if it does not have them.

    They are counted if all datasets are files and the tokenizer is a folder on this machine; otherwise nothing changes.

    Raises:
      UserError: the files exist but cannot be used.
    """
    plan = plan or PlanConfig(architecture={}, examples=0, reply_tokens=0)
    tokenizer = config.tokenizer or model_config.path
    if (plan.examples and plan.example_tokens) or not _are_here(config, tokenizer):
        return plan
    from jaxreason.training.sft_data import load_data  # Only here: it needs grain and Orbax.

    data = load_data(config, load_tokenizer(tokenizer))
    count = len(data.sequences)
    mean = round(sum(len(tokens) for tokens, _ in data.sequences) / count)
    return dataclasses.replace(
        plan, examples=plan.examples or count, example_tokens=plan.example_tokens or mean
    )


def _are_here(config: SFTConfig, tokenizer: str) -> bool:
    paths = [epath.Path(dataset.path).expanduser() for dataset in config.datasets.values()]
    files = all(dataset.source == "file" for dataset in config.datasets.values())
    folder = epath.Path(tokenizer).expanduser()
    return bool(tokenizer) and files and all(p.exists() for p in paths) and folder.is_dir()
