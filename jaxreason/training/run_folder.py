"""The folder of a training run: what it is claimed by, where it goes on, and when it is complete.

docs/working_directory.md says what may change between two starts.
"""

import logging
from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.config import claimed, to_dict
from jaxreason.errors import UserError
from jaxreason.models.huggingface import ModelConfig, resolve
from jaxreason.models.weight_files import verified_identity
from jaxreason.results import claims
from jaxreason.results.atomic_files import read_object, remove
from jaxreason.results.code_version import code_version
from jaxreason.results.jsonl import grown_exists, read_grown
from jaxreason.results.training_files import metrics_path, read_metrics
from jaxreason.runtime.distributed import on_process_zero

_LOG = logging.getLogger(__name__)


class RunFolder:
    """The checks of a run on its folder, after all other checks; every process makes one.

    Args:
      workdir: of the run.
      stage: "sft" or "rl".
      section: the recipe's, parsed.
      model_config: the model to start from.
      seed: of the run.
      num_steps: of the whole run.
      data: of each dataset what it gives: counts and a hash.
      beside: other pretrained models that the run reads.
    """

    def __init__(
        self,
        workdir: epath.Path,
        stage: str,
        section: Any,
        model_config: ModelConfig,
        seed: int,
        num_steps: int,
        data: dict[str, dict],
        beside: Sequence[ModelConfig] = (),
    ):
        self._workdir, self._num_steps = workdir, num_steps
        self._summary = {"stage": stage, "num_steps": num_steps, "seed": seed}
        self._claimed = {
            "stage": stage,
            "seed": seed,
            stage: claimed(section),
            "model": claimed(model_config),
            "base": _identity(model_config),
            "data": data,
        }
        if beside:
            self._claimed["beside"] = [_identity(other) for other in beside]
        self._sections = {stage: type(section), "model": ModelConfig}
        self._about = {"recipe": {"seed": seed} | {stage: to_dict(section)}}
        self._about["recipe"]["model"] = to_dict(model_config)

    def claim(self) -> bool:
        """Takes the folder for this run; True when all that it would do is done.

        Raises:
          UserError: another run was begun there, with the differences; or it is complete and lost lines of its metrics.
        """
        return on_process_zero(self._claim)

    def _claim(self) -> bool:
        there = begun(self._workdir)
        asked = self._workdir, self._claimed, there
        self._claimed = claims.agreed(*asked, sections=self._sections)
        amiss = claims.why_not_done(self._workdir, self._summary, self._claimed)
        about = self._about | {"code": _codes(self._workdir, there, goes_on=amiss is not None)}
        claims.write_claim(self._workdir, self._claimed, about)
        if amiss is None:
            # Here and not in the report: hours of other stages may lie between.
            read_metrics(metrics_path(self._workdir), self._num_steps)
            _LOG.info("%s is complete; nothing to do.", self._workdir)
        elif (self._workdir / claims.DONE).exists():
            _LOG.warning("Not complete: %s. It goes on.", amiss)
        return amiss is None

    def start_step(self, latest: int | None) -> int:
        """The step that the run goes on from: its newest checkpoint's, or 0.

        What said that a shorter run was complete is removed.

        Raises:
          UserError: the recipe asks for fewer steps than were made, steps are missing in the metrics, or the
            checkpoints of a finished run are gone.
        """
        return on_process_zero(lambda: self._start_step(latest))

    def _start_step(self, latest: int | None) -> int:
        if latest is None and _ended(self._workdir):
            raise UserError(
                f"{self._workdir}: the run has ended and its checkpoints are gone, so it cannot go on. "
                "Use another --workdir, or remove this one to train again."
            )
        start = latest or 0
        if start > self._num_steps:
            raise UserError(
                f"{self._workdir}: {start} steps were made, and the recipe asks for {self._num_steps}; "
                "ask for at least as many, or use another --workdir."
            )
        if start:
            read_metrics(metrics_path(self._workdir), start)
            _LOG.info("%s: goes on after step %d of %d.", self._workdir, start, self._num_steps)
        remove(self._workdir / claims.DONE)
        return start

    def finish(self, exported_step: int | None = None) -> None:
        """Writes done.json: all is complete, and model/ is the model after `exported_step` steps (all, if None)."""
        model = self._workdir / "model"
        files = [model / "config.json", *sorted(model.glob("*.safetensors*"))]
        step = self._num_steps if exported_step is None else exported_step
        about = self._summary | {"exported_step": step}, self._claimed, files
        on_process_zero(lambda: claims.mark_done(self._workdir, *about))


def _identity(model_config: ModelConfig) -> dict[str, Any] | None:
    if model_config.init != "pretrained":
        return None
    return verified_identity(resolve(model_config.path))


def _codes(workdir: epath.Path, there: bool, goes_on: bool) -> list[dict[str, Any]]:
    """The code versions of a run: one entry for each that it was started with, the oldest first."""
    path = workdir / "config.json"
    try:
        old = read_object(path, {}).get("code", []) if there and path.exists() else []
    except UserError:  # said better by whoever compares it
        old = []
    now = code_version()
    return [*old, now] if goes_on and old[-1:] != [now] else old


def begun(workdir: epath.Path) -> bool:
    """Whether anything was learned there."""
    metrics, checkpoints = metrics_path(workdir), workdir / "checkpoints"
    return (
        (workdir / claims.DONE).exists()
        or (grown_exists(metrics) and bool(read_grown(metrics)))
        or (checkpoints.exists() and any(path.name.isdigit() for path in checkpoints.iterdir()))
    )


def _ended(workdir: epath.Path) -> bool:
    """Whether there is an end that can be read; a broken one says nothing."""
    try:
        return (workdir / claims.DONE).exists() and bool(read_object(workdir / claims.DONE, {}))
    except UserError:
        return False


def saved_steps(step: int) -> str:
    """Says which step is saved when a run ends."""
    return f"The state after step {step} is saved." if step else "No step was made yet."


def is_due(step: int, every: int, num_steps: int) -> bool:
    """Whether a checkpoint is written after this step; after the last one always."""
    return step == num_steps or (every > 0 and step % every == 0)
