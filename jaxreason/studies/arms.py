"""The arms of a study: which twins there are, how each is trained, and how each is asked."""

import dataclasses
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import ml_collections

from jaxreason.config import ConfigError, nearest, parse, unclaimed, within
from jaxreason.evaluation import eval_settings
from jaxreason.recipes import merged
from jaxreason.results.published import published_models
from jaxreason.results.study_files import BASE, BASES, MANIFEST, TRANSFER
from jaxreason.results.training_files import TRAINING_PROMPTS
from jaxreason.rl import loop as rl
from jaxreason.training.sft_config import SFTConfig

MOST_SEED = 2**32 - 1  # of a larger one JAX's keys drop the rest: 2**32 would draw what 0 draws
Seed = Annotated[int, within(0, MOST_SEED)]

TAKEN = (
    BASE,
    BASES,
    "questions",
    TRAINING_PROMPTS,
    "report",
    "config.json",
    MANIFEST,
    TRANSFER,
    "log.txt",
)
METHODS = {"sft": SFTConfig, "rl": rl.RLConfig}


@unclaimed("each stage has a claim of its own")
@dataclass(frozen=True)
class ArmConfig:
    """One twin."""

    method: Literal["sft", "rl", "given"]
    """How the arm is made: "sft", "rl", or "given" (an existing checkpoint)."""
    label: str
    """Its name in the report."""
    section: str
    """The recipe section it is trained with ("" for a given one)."""
    overrides: dict = dataclasses.field(default_factory=dict)
    """Changes of that section, with the same nesting and names."""
    path: str = ""
    """The Hugging Face folder or hub name of a given arm ("" otherwise)."""
    asked: dict = dataclasses.field(default_factory=dict)
    """Changes that its evaluation makes to `eval`, so that each twin is asked as it was trained: `thinking`,
    `prompt_format`.
    """
    base: str = ""
    """The model that it starts from and is compared with (`lineage`): "" for the recipe's `model`; the name of an
    arm for that arm's model of the same seed; or a Hugging Face folder or hub name, a base of its own.
    """
    drift: bool = True
    """Whether it is compared with its base beyond its scores; a model with another vocabulary cannot be."""
    seeds: tuple[Seed, ...] = ()
    """Seeds of its runs, if not the study's; a given arm has at most one."""
    base_asked: dict = dataclasses.field(default_factory=dict)
    """What the evaluation of a base of its own changes of `eval`, as `asked`: a base without a chat template is
    asked with `prompt_format="plain"`.
    """
    published: str = ""
    """The paper's name of this model (`results.published.published_models`), whose numbers then stand beside ours."""
    traits: dict[str, str] = dataclasses.field(default_factory=dict)
    """Traits by which the report groups it, as {"size": "7B"}; a published model has its method, size and family, and a
    trained one its method.
    """


@unclaimed("each stage has a claim of its own")
@dataclass(frozen=True)
class StudyConfig:
    """The arms of a study, and their seeds."""

    name: str
    """Title of the report."""
    seeds: tuple[Seed, ...]
    """Seeds of the training runs: each arm without seeds of its own is trained once for each."""
    arms: dict[str, ArmConfig]
    """Folder name -> arm."""
    measured_dtype: str = ""
    """The dtype in which evaluation and drift hold parameters; "" for `model.param_dtype`, which trains."""
    follow: bool = False
    """Whether runs keep all of their checkpoints, and each is evaluated and compared with the base."""


def arms_of(config: ml_collections.ConfigDict) -> dict[str, ArmConfig]:
    """The arms of a recipe by name; none without a `study` section."""
    return parse(StudyConfig, config.study, "config.study").arms if "study" in config else {}


def check_folder_names(study: StudyConfig) -> None:
    """Each seed and arm is a folder of its own."""
    if not study.seeds or len(set(study.seeds)) < len(study.seeds):
        raise ConfigError(
            f"config.study.seeds: expected one or more, each once, got {study.seeds}."
        )
    if not study.arms:
        raise ConfigError(
            "config.study.arms: expected at least one, since the base is compared with them."
        )
    for name, arm in study.arms.items():
        if len(set(arm.seeds)) < len(arm.seeds) or (arm.method == "given" and len(arm.seeds) > 1):
            raise ConfigError(
                f"config.study.arms.{name}.seeds: expected each once, and of a given arm one, got {arm.seeds}."
            )
        if not re.fullmatch(r"\w[\w.+-]*", name) or name in TAKEN:
            raise ConfigError(
                f"config.study.arms: {name!r} cannot name a folder of its own. Expected letters, digits and _.+- and "
                f"none of {', '.join(TAKEN)}."
            )
        if arm.published and arm.published not in published_models():
            raise ConfigError(
                f"config.study.arms.{name}.published: the paper has no {arm.published!r}"
                f"{nearest(arm.published, published_models())}; it has {', '.join(published_models())}."
            )


def arm_section(config: ml_collections.ConfigDict, name: str, arm: ArmConfig):
    """The training configuration of an arm: its section with its overrides; all checkpoints kept, if it is followed."""
    path = f"config.study.arms.{name}"
    if arm.section not in config:
        raise ConfigError(
            f"{path}.section: {arm.section!r} is no section{nearest(arm.section, config.keys())}"
        )
    section = merged(config[arm.section], arm.overrides, f"{path}.overrides")
    found = parse(METHODS[arm.method], section, f"{path} ({arm.section} with overrides)")
    return dataclasses.replace(found, keep=0) if config.study.get("follow", False) else found


def arm_evaluation(
    config: ml_collections.ConfigDict, name: str, arm: ArmConfig
) -> eval_settings.EvalConfig:
    """The evaluation of an arm: the recipe's, asked as the arm says."""
    return evaluation_asked(config, arm.asked, f"config.study.arms.{name}.asked")


def evaluation_asked(
    config: ml_collections.ConfigDict, asked: dict, path: str
) -> eval_settings.EvalConfig:
    """The recipe's evaluation with the changes `asked`, which the recipe has at `path`.

    Raises:
      ConfigError: a field that models of a study may not differ in.
    """
    for field in asked:
        if field not in eval_settings.ASKED:
            raise ConfigError(
                f"{path}.{field}: arms may differ in {', '.join(eval_settings.ASKED)}"
                f"{nearest(field, eval_settings.ASKED)}"
            )
    section = merged(config.eval, asked, path)
    return parse(eval_settings.EvalConfig, section, f"{path} (eval with overrides)")


def traits_of(arm: ArmConfig) -> dict[str, str]:
    """The traits by which the report groups an arm: its own over those of its published model, or its method."""
    if arm.published:
        return published_models()[arm.published].traits | arm.traits
    return ({} if arm.method == "given" else {"method": arm.method.upper()}) | arm.traits


def seeds_of(study: StudyConfig, arm: ArmConfig) -> tuple[int, ...]:
    """The seeds that an arm has a run of: its own, else the study's; the first alone where nothing is trained."""
    seeds = arm.seeds or study.seeds
    return seeds[:1] if arm.method == "given" else seeds


def all_seeds(study: StudyConfig) -> tuple[int, ...]:
    """The study's seeds, and then those that arms have of their own."""
    own = (seed for arm in study.arms.values() for seed in arm.seeds)
    return tuple(dict.fromkeys((*study.seeds, *own)))
