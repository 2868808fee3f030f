"""Checks settings, data and models before the first stage, so that no later stage fails because of them."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import jax
import ml_collections
from etils import epath

from jaxreason.analysis import drift
from jaxreason.config import ConfigError, parse
from jaxreason.data.examples import check_opens
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.errors import UserError
from jaxreason.evaluation import eval_settings, transfer
from jaxreason.evaluation.validator import validation_eval
from jaxreason.models.architecture import Model
from jaxreason.models.huggingface import (
    ModelConfig,
    check_loadable,
    make_model,
    read_architecture,
    resolve,
)
from jaxreason.rl.checks import check_rl
from jaxreason.studies.arms import StudyConfig, arm_evaluation, arm_section, evaluation_asked
from jaxreason.studies.contamination import compared_benchmarks, decontamination_settings
from jaxreason.studies.followed_arms import check_followed
from jaxreason.studies.lineage import asked_of_bases, base_of_arm, check_lineage, origin_of
from jaxreason.training.sft_config import check_sft

QUESTION = ({"role": "user", "content": "1"},)


class _Models:
    """The models of a study; each one is checked once."""

    def __init__(self, config: ModelConfig):
        self.config = config
        self.model = functools.cache(self._model)
        self.tokenizer = functools.cache(load_tokenizer)
        self.check = functools.cache(self._check)

    def _model(self, path: str) -> Model:
        """Returns the static model of a path. Of a hub name only the settings are downloaded."""
        how = dataclasses.replace(self.config, path=path)
        return make_model(how, read_architecture(resolve(path, weights=False)))

    def _check(self, path: str, asked: eval_settings.PromptFormat, thinking: bool | None) -> None:
        """Checks that weights on this machine are complete, and that a chat template exists if one is needed."""
        model = self.model(path)
        if epath.Path(path).expanduser().is_dir():
            check_loadable(resolve(path), model)
        if asked == "chat":
            self.tokenizer(path).render(QUESTION, thinking, prompt=True)


def check_stages(config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh | None) -> None:
    """Checks, before the first stage of a study, the settings of all later ones.

    Args:
      config: the recipe, with its question files written.
      mesh: where the study runs; None if that is not known.

    Raises:
      UserError: names the field, and the arm if it is the arm's.
    """
    check_measurements(config, mesh)
    study = parse(StudyConfig, config.study, "config.study")
    model = parse(ModelConfig, config.model, "config.model")
    check_lineage(study, model.path)
    models = _Models(model)
    for name in study.arms:
        with named_arm(name):
            _check_models(config, study, name, models)
            _check_arm(config, study, name, mesh, models)


@contextlib.contextmanager
def named_arm(name: str) -> Iterator[None]:
    """Names the arm in a message about its settings."""
    try:
        yield
    except UserError as error:
        raise ConfigError(f"config.study.arms.{name}: {error}") from error


def check_measurements(config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh | None) -> None:
    """Checks the settings of a study's evaluation, drift and index; it reads neither data nor models.

    Args:
      config: the recipe.
      mesh: where the study runs; None if that is not known.

    Raises:
      UserError: names the field.
    """
    evaluation = parse(eval_settings.EvalConfig, config.eval, "config.eval")
    compared = parse(drift.DriftConfig, config.drift, "config.drift")
    eval_settings.find_benchmarks(evaluation)
    compared_benchmarks(evaluation, decontamination_settings(config))
    drift.check_drift(compared, mesh)
    eval_settings.check_sampled(evaluation, compared.decoding, "drift.decoding")
    transfer.check_transfer(parse(transfer.TransferConfig, config.transfer, "config.transfer"))


def _check_models(config, study: StudyConfig, name: str, models: _Models) -> None:
    """Checks that an arm's base, and the model that it starts from, can be read and asked."""
    base = base_of_arm(study, name, models.config.path)
    _, changes = asked_of_bases(study, models.config.path)[base.name]
    of_base = evaluation_asked(config, changes, f"config.study.arms.{name}.base_asked")
    of_arm = arm_evaluation(config, name, study.arms[name])
    for path, how in (
        (base.path, of_base),
        (origin_of(study, name, models.config.path), of_arm),
    ):
        models.check(path, how.prompt_format, how.thinking)


def _check_arm(config, study: StudyConfig, name: str, mesh, models: _Models) -> None:
    arm = study.arms[name]
    if arm.method == "given":
        return
    origin = origin_of(study, name, models.config.path)
    section = arm_section(config, name, arm)
    for dataset in section.datasets.values():
        check_opens(dataset)
    path = origin if arm.method == "rl" else section.tokenizer or origin
    check_training(config, study, name, models.model(origin), mesh, models.tokenizer(path))


def check_training(
    config: ml_collections.ConfigDict,
    study: StudyConfig,
    name: str,
    model: Model,
    mesh: jax.sharding.Mesh | None = None,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Checks the settings with which an arm is trained; a given arm has none.

    Args:
      config: the recipe.
      study: its section.
      name: the arm.
      model: the one that it is trained from.
      mesh: where; None if that is not known.
      tokenizer: of its texts; None where none is read.

    Raises:
      UserError: names the field.
    """
    arm = study.arms[name]
    if arm.method == "given":
        return
    section = arm_section(config, name, arm)
    if study.follow:
        check_followed(config, name, section)
    if section.validation.every:
        validation_eval(arm_evaluation(config, name, arm), section.validation, arm.method)
    if arm.method == "rl":
        check_rl(section, model, mesh, tokenizer)
    else:
        check_sft(section, model, tokenizer, mesh)
