"""How many examples a recipe's SFT has, and how long they are, where its data lie on this machine."""

import dataclasses

from etils import epath

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.huggingface import ModelConfig
from jaxreason.plan.settings import PlanConfig
from jaxreason.training.sft_config import SFTConfig
from jaxreason.training.sft_data import load_data


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
