"""The folder of a training run: claims it for the run, finds the step to continue from, and marks it as complete.

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
from jaxreason.results.atomic_files import glob_in, read_object, remove
from jaxreason.results.code_version import code_version
from jaxreason.results.jsonl import grown_exists, read_grown
from jaxreason.results.training_files import metrics_path, read_metrics
from jaxreason.runtime.distributed import on_process_zero

_LOG = logging.getLogger(__name__)


class RunFolder:
    """Compares a run with its folder. This happens after all other checks; every process makes one object.

    Args:
      workdir: working directory of the run.
      stage: "sft" or "rl".
      section: the parsed section of the recipe.
      model_config: the model that the run starts from.
      seed: seed of the run.
      num_steps: steps of the whole run.
      data: dataset -> counts and a hash of its content.
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
        self._begun, self._amiss = False, None
        if beside:
            self._claimed["beside"] = [_identity(other) for other in beside]
        self._sections = {stage: type(section), "model": ModelConfig}
        self._about = {"recipe": {"seed": seed} | {stage: to_dict(section)}}
        self._about["recipe"]["model"] = to_dict(model_config)

    def claim(self) -> bool:
        """Compares the folder's run with this one; returns whether the run is complete already.

        The record of a complete run is written anew, with where its inputs are now; otherwise `start_step` writes it.

        Raises:
          UserError: another run was begun there (the message shows the differences), or the run is complete but
            lines of its metrics are lost.
        """
        return on_process_zero(self._claim)

    def _claim(self) -> bool:
        self._begun = begun(self._workdir)
        asked = self._workdir, self._claimed, self._begun
        self._claimed = claims.agreed(*asked, sections=self._sections)
        self._amiss = claims.why_not_done(self._workdir, self._summary, self._claimed)
        if self._amiss is None:
            # Checked here and not in the report, since other stages may run for hours before the report.
            read_metrics(metrics_path(self._workdir), self._num_steps)
            self._write_claim()
            _LOG.info("%s is complete; nothing to do.", self._workdir)
        return self._amiss is None

    def _write_claim(self) -> None:
        codes = _codes(self._workdir, self._begun, goes_on=self._amiss is not None)
        claims.write_claim(self._workdir, self._claimed, self._about | {"code": codes})

    def start_step(self, latest: int | None) -> int:
        """Claims the folder; returns the step to continue from: that of the newest checkpoint, or 0.

        If a shorter run was complete, its done.json is removed.

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
        self._write_claim()
        if (self._workdir / claims.DONE).exists():
            _LOG.warning("Not complete: %s. It goes on.", self._amiss)
        if start:
            _LOG.info("%s: goes on after step %d of %d.", self._workdir, start, self._num_steps)
        remove(self._workdir / claims.DONE)
        return start

    def finish(self, exported_step: int | None = None) -> None:
        """Writes done.json: the run is complete, and model/ is the model after `exported_step`
        steps (None for all steps).
        """
        model = self._workdir / "model"
        files = [model / "config.json", *glob_in(model, "*.safetensors*")]
        step = self._num_steps if exported_step is None else exported_step
        about = self._summary | {"exported_step": step}, self._claimed, files
        on_process_zero(lambda: claims.mark_done(self._workdir, *about))


def _identity(model_config: ModelConfig) -> dict[str, Any] | None:
    if model_config.init != "pretrained":
        return None
    return verified_identity(resolve(model_config.path))


def _codes(workdir: epath.Path, there: bool, goes_on: bool) -> list[dict[str, Any]]:
    """Returns the code versions that the run was started with, one entry for each, the oldest first."""
    path = workdir / "config.json"
    try:
        old = read_object(path, {}).get("code", []) if there and path.exists() else []
    except UserError:  # `claims.agreed` reports a broken config.json with a better message.
        old = []
    now = code_version()
    return [*old, now] if goes_on and old[-1:] != [now] else old


def begun(workdir: epath.Path) -> bool:
    """Whether a run has made any step there."""
    metrics, checkpoints = metrics_path(workdir), workdir / "checkpoints"
    return (
        (workdir / claims.DONE).exists()
        or (grown_exists(metrics) and bool(read_grown(metrics)))
        or (checkpoints.exists() and any(path.name.isdigit() for path in checkpoints.iterdir()))
    )


def _ended(workdir: epath.Path) -> bool:
    """Whether there is a readable done.json; a broken one does not count."""
    try:
        return (workdir / claims.DONE).exists() and bool(read_object(workdir / claims.DONE, {}))
    except UserError:
        return False


def saved_steps(step: int) -> str:
    """Returns a sentence for the end of a run that says which step is saved."""
    return f"The state after step {step} is saved." if step else "No step was made yet."


def is_due(step: int, every: int, num_steps: int) -> bool:
    """Whether a checkpoint is written after this step. After the last step there always is one."""
    return step == num_steps or (every > 0 and step % every == 0)
