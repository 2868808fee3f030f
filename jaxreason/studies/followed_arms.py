"""The stage of a study that follows a finished run: it compares each kept checkpoint with the
base, like `eval --follow`.

The study has evaluated and compared the base and the last step already, so only the steps between them are run.
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
    """Checks that an arm has checkpoints to follow.

    Raises:
      ConfigError: the arm keeps only its last checkpoint, or the index has no benchmark.
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
    """Follows a run that is evaluated and compared; the trajectory is in `<arm>/seed_<k>/trajectory`.

    Args:
      config: the recipe.
      model: how the measured models are run.
      mesh: where to run.
      workdir: folder of the study.
      name: name of the arm.
      seed: seed of the run.

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
