"""The sections of a recipe and the check of all of them, without the libraries that only running its stages needs."""

from collections.abc import Collection, Iterable, Mapping

import ml_collections

from jaxreason.analysis.drift import DriftConfig
from jaxreason.chat import ChatConfig
from jaxreason.config import ConfigError, nearest, parse
from jaxreason.data.rows import DatasetConfig
from jaxreason.distill.distill_config import DistillConfig
from jaxreason.evaluation.eval_settings import EvalConfig
from jaxreason.evaluation.transfer import TransferConfig
from jaxreason.models.huggingface import ModelConfig
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.report.report_config import ReportConfig
from jaxreason.rl.rl_config import RLConfig
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.sharding import MeshConfig
from jaxreason.studies.arms import (
    METHODS,
    MOST_SEED,
    StudyConfig,
    arm_evaluation,
    arm_section,
    arms_of,
    check_folder_names,
    evaluation_asked,
)
from jaxreason.studies.contamination import DecontaminationConfig
from jaxreason.studies.cross_sample import CrossSampleConfig
from jaxreason.studies.lineage import check_lineage, study_bases
from jaxreason.studies.question_set import WRITERS, QuestionsConfig
from jaxreason.tasks.registry import TASKS
from jaxreason.training.sft_config import SFTConfig

SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "mesh": MeshConfig,
    "sft": SFTConfig,
    "rl": RLConfig,
    "distill": DistillConfig,
    "eval": EvalConfig,
    "transfer": TransferConfig,
    "drift": DriftConfig,
    "report": ReportConfig,
    "study": StudyConfig,
    "cross_sample": CrossSampleConfig,
    "chat": ChatConfig,
    "serve": ServeConfig,
    "plan": PlanConfig,
    "decontamination": DecontaminationConfig,
    "questions": QuestionsConfig,
    **{name: cls for name, (cls, _) in WRITERS.items()},
}


def section_classes(config: ml_collections.ConfigDict) -> dict[str, type]:
    """Returns the dataclass of every section that a recipe may have, including those that its arms are trained with.

    Raises:
      ConfigError: a field of the recipe's `study` section is wrong.
    """
    trained = [arm for arm in arms_of(config).values() if arm.method != "given"]
    return {**SECTIONS, **{arm.section: METHODS[arm.method] for arm in trained}}


def check_recipe(config: ml_collections.ConfigDict) -> None:
    """Parses every section of a recipe, and looks up the tasks that its datasets name, before anything is compiled.

    Raises:
      ConfigError: names the first field that is wrong.
    """
    classes = section_classes(config)
    for name in config:
        if name == "seed":
            continue
        if name not in classes:
            raise ConfigError(f"config.{name}: no such section{nearest(name, [*classes, 'seed'])}")
        section = parse(classes[name], config[name], f"config.{name}")
        _check_tasks(getattr(section, "datasets", {}), f"config.{name}.datasets")
        if isinstance(section, QuestionsConfig):
            sources = {f"{key}.data": source.data for key, source in section.sources.items()}
            _check_tasks(sources, f"config.{name}.sources")
    _check_seed(config.get("seed"))
    for name, arm in arms_of(config).items():
        if arm.method != "given":
            path = f"config.study.arms.{name} ({arm.section} with overrides).datasets"
            _check_tasks(arm_section(config, name, arm).datasets, path)
        if "eval" in config:
            arm_evaluation(config, name, arm)
            evaluation_asked(config, arm.base_asked, f"config.study.arms.{name}.base_asked")
    if "study" in config:
        study = parse(StudyConfig, config.study, "config.study")
        path = config.model.path if "model" in config else ""
        check_folder_names(study)
        check_lineage(study, path)
        planned = parse(PlanConfig, config.plan, "config.plan").arms if "plan" in config else {}
        _check_planned(planned, [*study.arms, *(base.name for base in study_bases(study, path))])


def _check_tasks(datasets: Mapping[str, DatasetConfig], path: str) -> None:
    for name, dataset in datasets.items():
        if dataset.task and dataset.task not in TASKS:
            raise ConfigError(
                f"{path}.{name}.task: no task is called {dataset.task!r}{nearest(dataset.task, TASKS)} "
                f"Expected {', '.join(TASKS)}; of sft also ''."
            )


def _check_planned(names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(
                f"config.plan.arms.{name}: no arm or base of the study{nearest(name, known) or '.'}"
            )


def _check_seed(seed: object) -> None:
    if type(seed) is not int or not 0 <= seed <= MOST_SEED:
        raise ConfigError(f"config.seed: expected an int from 0 to {MOST_SEED}, got {seed!r}.")
