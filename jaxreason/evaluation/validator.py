"""Validation during training, done like an evaluation: one benchmark, asked with its own decoding and graded."""

import dataclasses
from collections.abc import Callable
from typing import Any

from etils import epath
from jax.sharding import Mesh

from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.evaluation.eval_jobs import asked_jobs, questions_identity
from jaxreason.evaluation.eval_settings import BenchmarkRun, EvalConfig, find_benchmarks
from jaxreason.evaluation.evaluator import ask_and_grade, check_isolation, fitting
from jaxreason.models.architecture import Model
from jaxreason.models.huggingface import ModelConfig, ModelSource
from jaxreason.results.score_files import EVALUATION, read_score_rows
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.open_engine import engine_for
from jaxreason.validation import ValidationConfig, Validator, check_validation

DECODING = "validation"  # The name of its decoding in the names of files.


def validation_eval(config: EvalConfig, how: ValidationConfig, stage: str) -> EvalConfig:
    """Returns the evaluation of one validation: the recipe's, with one benchmark and one decoding.

    Raises:
      UserError: no benchmark is named, or there is no such benchmark or variant.
    """
    check_validation(how, stage)
    run = BenchmarkRun(limit=how.limit, samples={DECODING: how.samples}, variants=(how.variant,))
    narrowed = dataclasses.replace(
        config,
        benchmarks={how.benchmark: run},
        decodings={DECODING: how.decoding},
        pass_at=(),
        maj_at=(),
    )
    try:
        find_benchmarks(narrowed)
    except ConfigError as error:
        raise ConfigError(f"{stage}.validation: {error}") from error
    return narrowed


def make_validator(
    config: EvalConfig | None,
    how: ValidationConfig,
    stage: str,
    model_config: ModelConfig,
    mesh: Mesh,
    seed: int,
) -> Validator | None:
    """Returns the function that runs the benchmark of a run's `validation` section; None if the section has none.

    Args:
      config: the recipe's `eval` section; None if it has none.
      how: the section.
      stage: "sft" or "rl".
      model_config: the model that is trained.
      mesh: the model's mesh.
      seed: of the sampling.

    Raises:
      UserError: the benchmark cannot be run here; before anything is compiled.
    """
    if not how.every:
        return None
    return BenchmarkValidator(needed_eval(config, how, stage), how, stage, model_config, mesh, seed)


def needed_eval(config: EvalConfig | None, how: ValidationConfig, stage: str) -> EvalConfig:
    """Returns the recipe's `eval` section, which says how a validation puts its questions.

    Raises:
      ConfigError: it has none.
    """
    if config is None:
        raise ConfigError(
            f"{stage}.validation.every={how.every}: expected a section `eval` in the recipe, which says how questions "
            "are put and where they are."
        )
    return config


class BenchmarkValidator:
    """A `Validator`. A run has one, which keeps an engine of its own if training has none.

    Args:
      config: the recipe's `eval` section, asked as the twin is.
      how: the `validation` section of the run.
      stage: the recipe's section that contains it, for messages.
      model_config: how the model is run.
      mesh: the model's mesh.
      seed: of the sampling.

    Raises:
      UserError: the benchmark cannot be run here; before anything is compiled.
    """

    def __init__(
        self,
        config: EvalConfig,
        how: ValidationConfig,
        stage: str,
        model_config: ModelConfig,
        mesh: Mesh,
        seed: int,
    ):
        self._config = validation_eval(config, how, stage)
        jobs = asked_jobs(self._config)
        check_isolation(self._config, jobs)
        self.asked = questions_identity(self._config, jobs)
        self._variant, self._model_config = how.variant, model_config
        self._mesh, self._seed = mesh, seed
        self._engine: Engine | None = None

    def __call__(
        self,
        folder: epath.Path,
        identity: dict[str, Any],
        model: Model,
        params: Any,
        tokenizer: Tokenizer,
        engine: Engine | None,
        check: Callable[[], None],
    ) -> float:
        """Returns the primary score of the model, whose files are written to `folder`."""
        positions, name = model.architecture.max_position_embeddings, f"step {identity['step']}"
        config = fitting(self._config, positions)
        if engine is not None:
            sampler = dataclasses.replace(config.sampler, max_length=engine.max_length)
            config = dataclasses.replace(config, sampler=sampler)
        source = ModelSource(name, self._model_config, identity, lambda how: (model, params))
        used: list[Engine] = []

        def make_engine() -> Engine:
            used.append(engine or self._own_engine(config.sampler, model, params, tokenizer))
            return used[0]

        try:
            ask_and_grade(config, source, tokenizer, make_engine, folder, self._seed, check)
        finally:
            for one in used:
                # Training goes on without the cache, and without a copy of the weights that it does not know.
                one.release(weights=one is not engine)
        return self._score(folder / EVALUATION)

    def _own_engine(
        self, sampler: SamplerConfig, model: Model, params: Any, tokenizer: Tokenizer
    ) -> Engine:
        if self._engine is None:
            self._engine = engine_for(model, params, sampler, self._mesh, tokenizer)
        else:
            self._engine.set_params(params)
        return self._engine

    def _score(self, folder: epath.Path) -> float:
        rows = [row for row in read_score_rows(folder, self._variant) if row["primary"]]
        if len(rows) != 1 or rows[0]["mean"] is None:
            raise UserError(f"{folder}: no reply has a score, so the step cannot be validated.")
        return float(rows[0]["mean"])
