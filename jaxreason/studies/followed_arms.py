"""The stage of a study that follows a finished run: each kept checkpoint against the base, as `eval --follow` does it.

The base and the last step are those that the study has evaluated and compared, so only what lies between is asked.
"""

import dataclasses

import jax
import ml_collections
from etils import epath

from jaxreason.analysis.drift import DriftConfig
from jaxreason.config import ConfigError, parse
from jaxreason.evaluation.trajectory import find_named
from jaxreason.evaluation.transfer import TransferConfig
from jaxreason.models.huggingface import ModelConfig, ModelSource
from jaxreason.results.atomic_files import read_object
from jaxreason.results.claims import DONE
from jaxreason.results.study_files import TRAJECTORY_FOLDER, run_folder
from jaxreason.rl.rl_config import RLConfig
from jaxreason.studies.arms import StudyConfig, arm_evaluation
from jaxreason.studies.follow import FollowConfig, Places, follow_finished
from jaxreason.studies.lineage import base_of_arm
from jaxreason.training.sft_config import SFTConfig


def check_followed(
    config: ml_collections.ConfigDict, name: str, section: SFTConfig | RLConfig
) -> None:
    """Refuses an arm that would have nothing to follow.

    Raises:
      ConfigError: it keeps its last checkpoint alone, or the index has no benchmark.
    """
    if not section.checkpoint_every:
        raise ConfigError(
            "checkpoint_every=0 keeps the last step alone; config.study.follow expects the steps between two."
        )
    asked = arm_evaluation(
        config, name, parse(StudyConfig, config.study, "config.study").arms[name]
    )
    find_named(asked, _transfer(config).variant, None)


def follow_arm(
    config: ml_collections.ConfigDict,
    model: ModelConfig,
    mesh: jax.sharding.Mesh,
    workdir: epath.Path,
    name: str,
    seed: int,
) -> None:
    """Follows a run that is evaluated and compared; its trajectory lies in `<arm>/seed_<k>/trajectory`.

    Args:
      config: the recipe.
      model: how what is measured is held.
      mesh: where.
      workdir: of the study.
      name: of the arm.
      seed: of the run.

    Raises:
      UserError, SystemExit: as `follow_finished`.
    """
    study = parse(StudyConfig, config.study, "config.study")
    run, base = run_folder(name, seed), base_of_arm(study, name, model.path)
    how = _settings(config, study, model, name)
    steps = read_object(workdir / run / DONE, {"num_steps": int})["num_steps"]
    places = Places(workdir / run / TRAJECTORY_FOLDER, workdir, {0: base.name, steps: run})
    source = ModelSource.of_folder(dataclasses.replace(model, path=base.path), mesh)
    follow_finished(how, workdir / run, source, mesh, places)


def _settings(config, study: StudyConfig, model: ModelConfig, name: str) -> FollowConfig:
    drift = parse(DriftConfig, config.drift, "config.drift")
    if not study.arms[name].drift:
        drift = dataclasses.replace(drift, metrics=())
    asked = arm_evaluation(config, name, study.arms[name])
    return FollowConfig(model, asked, _transfer(config), drift, config.seed, None)


def _transfer(config: ml_collections.ConfigDict) -> TransferConfig:
    return parse(TransferConfig, config.transfer, "config.transfer")
