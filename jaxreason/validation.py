"""Validation during training: runs a benchmark every few steps and finds the best step.

The evaluation asks and grades (`evaluation.validator`). This module decides when, which numbers the run gets, and which
step's weights are exported. All of this can be read from files, so a run that was killed asks nothing twice.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, Protocol

from etils import epath

from jaxreason.config import FREE, LEARNED, at_least, to_dict
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.fingerprint import fingerprint
from jaxreason.results.training_files import (
    begin_validation,
    end_validation,
    validation_folder,
    validation_score,
    validation_scores,
)
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import SamplingParams

_LOG = logging.getLogger(__name__)
GREEDY = SamplingParams(temperature=0.0, top_k=0, top_p=1.0, max_tokens=1024, stop=())


@dataclass(frozen=True)
class ValidationConfig:
    """The `validation` section inside a recipe's `sft` or `rl` section. How questions are asked, the sampler and the
    graders come from the recipe's `eval` section.
    """

    every: Annotated[int, at_least(0), FREE] = 0
    """Steps between two validations: the first comes before step 1, the last after the last step. 0 = none."""
    benchmark: Annotated[str, LEARNED] = ""
    """A benchmark that the evaluation knows, or one of `eval.own`."""
    variant: Annotated[str, LEARNED] = "robust"
    """How the benchmark is asked and graded: "robust" or "paper"."""
    decoding: SamplingParams = GREEDY
    """How replies are sampled; this is independent of the decoding in training."""
    samples: Annotated[int, at_least(1), LEARNED] = 1
    """Replies to each question."""
    limit: Annotated[int, at_least(0), LEARNED] = 0
    """The number of questions, drawn by `eval.items_seed`; 0 for all."""
    choose: Annotated[bool, LEARNED] = False
    """Whether model/ is the step with the highest score (the earliest of equal ones) instead of the last step."""


NO_VALIDATION = ValidationConfig()


class StoppedError(Exception):
    """Raised through the engine after a signal, if the next run can do the work instead."""


class Validator(Protocol):
    """Runs the benchmark of a section and grades the replies; made by code that knows the evaluation.

    It may have an attribute `asked`, a hash of its questions. Only scores of the same questions are compared.
    """

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
        """Returns the score of a model; an exception that `check` raises ends it.

        Args:
          folder: the folder of its files, which may exist already.
          identity: identity of the weights.
          model: the network.
          params: its parameters.
          tokenizer: the run's tokenizer.
          engine: an engine that holds the parameters, or None.
          check: called where the work may end.
        """


class Best(NamedTuple):
    """The step with the highest score, the earliest of equal ones."""

    step: int
    score: float


class Validation:
    """The validations of a run. Every process makes one and makes the same calls.

    Args:
      config: the recipe's section.
      stage: the section of the recipe that it is in, for messages.
      validator: asks and grades; None if that is not possible.
      workdir: working directory of the run.
      num_steps: steps of the run.
      stops: tells whether a signal has arrived.

    Raises:
      UserError: the section asks for something that cannot be done.
    """

    def __init__(
        self,
        config: ValidationConfig,
        stage: str,
        validator: Validator | None,
        workdir: epath.Path,
        num_steps: int,
        stops: Callable[[], bool],
    ):
        check_validation(config, stage)
        if config.every and validator is None:
            raise UserError(f"{stage}.validation.every={config.every}: nobody was given who asks.")
        self._config, self._validator = config, validator
        self._workdir, self._num_steps, self._stops = workdir, num_steps, stops
        self._asked, self._told = getattr(validator, "asked", ""), False

    def due(self, step: int) -> bool:
        """Whether the model after so many steps is validated."""
        every = self._config.every
        return every > 0 and (step % every == 0 or step == self._num_steps)

    def measure(
        self, step: int, model: Model, params: Any, tokenizer: Tokenizer, engine: Engine | None
    ) -> dict[str, float] | None:
        """Returns the metrics of the step's validation. It is not repeated for weights that were validated before.

        Returns:
          The score, and the best step so far with its score; an empty dict if no validation is
          due; None after a signal.
        """
        if not self.due(step):
            return {}
        folder = validation_folder(self._workdir, step)
        identity = {"step": step, "weights": fingerprint(params)}
        score = on_process_zero(lambda: self._begin(folder, identity))
        if score is None:
            try:
                asked = folder, identity, model, params, tokenizer, engine, self._check
                score = self._validator(*asked)
            except StoppedError:
                return None
            on_process_zero(lambda: end_validation(folder, score))
            _LOG.info("validation: %s %.4g after step %d", self._config.benchmark, score, step)
        best = self.best(step)
        found = {f"validation/{self._config.benchmark}": score}
        return found | ({"validation/best_step": best.step} if best else {})

    def _begin(self, folder: epath.Path, identity: dict[str, Any]) -> float | None:
        asked = to_dict(self._config)
        made_with = identity | {k: v for k, v in asked.items() if k not in ("every", "choose")}
        made_with |= {"asked": self._asked} if self._asked else {}
        if begin_validation(folder, made_with):
            _LOG.warning("%s: of other weights, or asked otherwise; it is asked anew.", folder)
        self._tell_others()
        return validation_score(folder)

    def _tell_others(self) -> None:
        """Warns of scores that are not comparable with those that follow; an earlier start has left them."""
        if self._told:
            return
        self._told = True
        every, same = (validation_scores(self._workdir, x) for x in ("", self._asked))
        others = [str(step) for step in every if step not in same]
        if others:
            _LOG.warning(
                "%s: steps %s were asked other questions: the recipe's section eval, or its data, has changed. Their "
                "scores are not compared with those that follow.",
                validation_folder(self._workdir, 0).parent,
                ", ".join(others),
            )

    def _check(self) -> None:
        if self._stops():
            raise StoppedError

    def best(self, step: int) -> Best | None:
        """Returns the best of steps 1 to `step`; None if none was validated. The base (step 0)
        is not a step of the run.
        """
        if not self._config.every:
            return None
        found = on_process_zero(lambda: _best(self._workdir, step, self._asked))
        return Best(*found) if found else None

    def kept(self, step: int) -> int | None:
        """Returns the step whose checkpoint must be kept after `step` steps."""
        best = self.best(step) if self._config.choose else None
        return best.step if best else None

    def tell_choice(self, exported: int) -> None:
        """Says which step is exported, and whether the base was as good."""
        base = on_process_zero(lambda: validation_scores(self._workdir, self._asked).get(0))
        best = self.best(self._num_steps)
        _LOG.info("exported: step %d, %s %.4g", exported, self._config.benchmark, best.score)
        if base is not None and base >= best.score:
            _LOG.warning(
                "No step did better on %s than the base (%.4g).", self._config.benchmark, base
            )


def _best(workdir: epath.Path, step: int, asked: str) -> tuple[int, float] | None:
    scores = {n: score for n, score in validation_scores(workdir, asked).items() if 1 <= n <= step}
    if not scores:
        return None
    return max(scores.items(), key=lambda pair: (pair[1], -pair[0]))


def check_validation(config: ValidationConfig, stage: str) -> None:
    """Refuses a section that asks nothing or cannot choose.

    Raises:
      UserError: names the field.
    """
    if config.every and not config.benchmark:
        raise UserError(f"{stage}.validation.benchmark: expected the name of a benchmark.")
    if config.choose and not config.every:
        raise UserError(
            f"{stage}.validation.choose=True: expected validation.every of at least 1, since no step has a score."
        )
