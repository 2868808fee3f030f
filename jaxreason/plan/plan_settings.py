"""The `plan` section of a recipe, and what of it can be counted where the data lie on this machine."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

from etils import epath

from jaxreason.config import at_least, unclaimed
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.huggingface import ModelConfig
from jaxreason.training.sft_config import SFTConfig
from jaxreason.training.sft_data import load_data


@unclaimed("nothing is kept")
@dataclass(frozen=True)
class PlanConfig:
    """Facts that a plan cannot find out itself."""

    architecture: dict[str, Any]
    """Settings of the model's Hugging Face config.json, used where `model.path` is not a folder here."""
    examples: Annotated[int, at_least(0)] = 0
    """Examples of an epoch of `sft`; 0 = not known."""
    reply_tokens: Annotated[int, at_least(0)] = 0
    """Mean length of the replies of `rl`; 0 = not known."""
    slice: str = ""
    """Where a study would run, for its `--dry-run`; "" = this machine."""
    example_tokens: Annotated[int, at_least(0)] = 0
    """Mean length of an example of `sft`, prompt and reply; 0 = not known, then as long as a row."""
    eval_tokens: Annotated[int, at_least(0)] = 0
    """Mean length of the replies of an evaluation; 0 = half of what they may have."""
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Maps an arm of a study to its changes of the fields above."""


def with_local_examples(
    plan: PlanConfig | None, config: SFTConfig, model_config: ModelConfig
) -> PlanConfig:
    """The plan's section, with the number of examples and their mean length where it does not say them.

    They are counted where all datasets are files here and the tokenizer is a folder here; elsewhere nothing changes.

    Raises:
      UserError: the files are here and cannot be used.
    """
    plan = plan or PlanConfig(architecture={}, examples=0, reply_tokens=0)
    tokenizer = config.tokenizer or model_config.path
    if (plan.examples and plan.example_tokens) or not _are_here(config, tokenizer):
        return plan
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
