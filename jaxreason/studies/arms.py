"""The arms of a study: which tuned twins there are, how each is trained, and how each is evaluated."""

import collections
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
from jaxreason.rl.rl_config import RLConfig
from jaxreason.training.sft_config import SFTConfig

# JAX's keys keep only 32 bits of a seed: 2**32 would draw the same numbers as 0.
MOST_SEED = 2**32 - 1
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
METHODS = {"sft": SFTConfig, "rl": RLConfig}


@unclaimed("each stage has a claim of its own")
@dataclass(frozen=True)
class ArmConfig:
    """One arm of a study: a tuned twin of a base."""

    method: Literal["sft", "rl", "given"]
    """How the arm is made: "sft", "rl", or "given" (an existing checkpoint)."""
    label: str
    """The arm's name in the report. An arm without one is called by its folder, and arms of the same name get theirs
    in brackets.
    """
    section: str
    """The recipe section that the arm is trained with ("" for a given one)."""
    overrides: dict = dataclasses.field(default_factory=dict)
    """Changes to that section, with the same nesting and names."""
    path: str = ""
    """The Hugging Face folder or hub name of a given arm ("" otherwise)."""
    asked: dict = dataclasses.field(default_factory=dict)
    """Changes that the arm's evaluation makes to `eval`, so that each twin is asked as it was trained. Allowed are
    `thinking` and `prompt_format`.
    """
    base: str = ""
    """The model that the arm starts from and is compared with (`lineage`). "" is the recipe's `model`; the name of an
    arm is that arm's model of the same seed; a Hugging Face folder or hub name is a base of the arm's own.
    """
    drift: bool = True
    """Whether the arm is compared with its base by drift metrics too. A model with another vocabulary cannot be."""
    seeds: tuple[Seed, ...] = ()
    """Seeds of the arm's runs, if they differ from the study's; a given arm has at most one."""
    base_asked: dict = dataclasses.field(default_factory=dict)
    """Changes to `eval`, as in `asked`, for the evaluation of the arm's own base. For example, a base without a chat
    template is asked with `prompt_format="plain"`.
    """
    published: str = ""
    """The name of this model in the paper (`results.published.published_models`); the report then shows the
    paper's numbers beside ours.
    """
    traits: dict[str, str] = dataclasses.field(default_factory=dict)
    """Traits by which the report groups the arm, such as {"size": "7B"}. A published model has its method, size and
    family by itself, a trained one its method.
    """


@unclaimed("each stage has a claim of its own")
@dataclass(frozen=True)
class StudyConfig:
    """The arms of a study and their seeds."""

    name: str
    """The title of the report."""
    seeds: tuple[Seed, ...]
    """Seeds of the training runs: an arm without seeds of its own is trained once for each."""
    arms: dict[str, ArmConfig]
    """Folder name -> arm."""
    measured_dtype: Literal["", "float32", "bfloat16", "float16"] = ""
    """The dtype of the parameters in evaluation and drift; "" for `model.param_dtype`, which training uses."""
    follow: bool = False
    """Whether runs keep all their checkpoints and each one is evaluated and compared with the base."""


def arms_of(config: ml_collections.ConfigDict) -> dict[str, ArmConfig]:
    """Returns the arms of a recipe by name; empty if it has no `study` section."""
    return parse(StudyConfig, config.study, "config.study").arms if "study" in config else {}


def check_folder_names(study: StudyConfig) -> None:
    """Checks that each seed and arm gets a folder of its own."""
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
        _check_method(name, arm)
        if arm.published and arm.published not in published_models():
            raise ConfigError(
                f"config.study.arms.{name}.published: the paper has no {arm.published!r}"
                f"{nearest(arm.published, published_models())}; it has {', '.join(published_models())}."
            )


def _check_method(name: str, arm: ArmConfig) -> None:
    """Refuses fields that an arm of this method does not read: its run would not be what they say."""
    path = f"config.study.arms.{name}"
    if arm.method != "given" and arm.path:
        raise ConfigError(
            f"{path}.path: expected '' of an arm that is trained (`base` names the model that it starts from), got "
            f"{arm.path!r}."
        )
    if arm.method == "given" and not arm.path:
        raise ConfigError(f"{path}.path: expected the folder or hub name of a given model, got ''.")
    for field in ("section", "overrides") if arm.method == "given" else ():
        if value := getattr(arm, field):
            raise ConfigError(
                f"{path}.{field}: a given arm is not trained; expected none, got {value!r}."
            )


def shown_labels(arms: dict[str, ArmConfig]) -> dict[str, str]:
    """Returns what the report calls each arm: one line, which no other arm has."""
    labels = {name: " ".join(arm.label.split()) or name for name, arm in arms.items()}
    counts = collections.Counter(labels.values())
    return {n: f"{label} ({n})" if counts[label] > 1 else label for n, label in labels.items()}


def arm_section(config: ml_collections.ConfigDict, name: str, arm: ArmConfig):
    """Returns the arm's training configuration: its section with its overrides.

    If the study follows its runs, all checkpoints are kept.
    """
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
    """Returns the arm's evaluation: the recipe's, with the changes that the arm asks for."""
    return evaluation_asked(config, arm.asked, f"config.study.arms.{name}.asked")


def evaluation_asked(
    config: ml_collections.ConfigDict, asked: dict, path: str
) -> eval_settings.EvalConfig:
    """Returns the recipe's evaluation with the changes `asked`; the recipe has them at `path`.

    Raises:
      ConfigError: a changed field must be the same for all models of a study.
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
    """Returns the traits by which the report groups an arm: its own, then those of its
    published model, or its method.
    """
    if arm.published:
        return published_models()[arm.published].traits | arm.traits
    return ({} if arm.method == "given" else {"method": arm.method.upper()}) | arm.traits


def seeds_of(study: StudyConfig, arm: ArmConfig) -> tuple[int, ...]:
    """Returns the seeds of an arm's runs: its own or the study's; only the first one if nothing is trained."""
    seeds = arm.seeds or study.seeds
    return seeds[:1] if arm.method == "given" else seeds


def all_seeds(study: StudyConfig) -> tuple[int, ...]:
    """Returns the study's seeds, followed by the seeds that only some arms have."""
    own = (seed for arm in study.arms.values() for seed in arm.seeds)
    return tuple(dict.fromkeys((*study.seeds, *own)))
