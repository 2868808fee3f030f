"""metrics.jsonl of a training run: one line for each step, from 1, in order."""

from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.growing_files import grown_exists
from jaxreason.results.jsonl import JsonlWriter, read_jsonl, write_jsonl

METRICS = "metrics.jsonl"

WHAT_TO_DO = "Put the file back as the run wrote it, or remove the run's folder and train it again."


def metrics_path(workdir: epath.PathLike) -> epath.Path:
    """Where the metrics of a training run lie."""
    return epath.Path(workdir) / METRICS


def metrics_writer(workdir: epath.PathLike, resume_step: int) -> JsonlWriter:
    """Appends lines to the metrics of a run; those of steps after `resume_step` are dropped first."""
    return JsonlWriter(metrics_path(workdir), keep=lambda row: row["step"] <= resume_step)


def amend_metrics(workdir: epath.PathLike, step: int, values: dict[str, float]) -> None:
    """Adds numbers to the line of a step that was written without them, before a run goes on from there."""
    path = metrics_path(workdir)
    rows = read_jsonl(path)
    amended = [row | values if row["step"] == step else row for row in rows]
    if amended != rows:
        write_jsonl(path, amended)


def read_metrics(path: epath.PathLike, num_steps: int | None = None) -> list[dict[str, Any]]:
    """The lines of a metrics file, checked as `check_metrics` does.

    Raises:
      UserError: the file is missing, is not jsonl, or lacks steps; names file and line.
    """
    if not grown_exists(path):
        raise UserError(f"{path}: not found. {WHAT_TO_DO}")
    return check_metrics(read_jsonl(path), str(path), num_steps)


def check_metrics(
    lines: Sequence[dict[str, Any]], source: str, num_steps: int | None = None
) -> list[dict[str, Any]]:
    """The lines of steps 1, 2, ... `num_steps`, each there once and in order.

    Args:
      lines: of the file, the first one first.
      source: the file's name, for messages.
      num_steps: how many steps the run made, or made before it resumes: lines of later steps, which a killed run wrote
        after its last checkpoint, are checked too but not returned. None when the run has not ended: then every line
        there is.

    Raises:
      UserError: a step is missing, doubled or out of order, or a line holds something else than numbers.
    """
    for number, line in enumerate(lines, start=1):
        _check_line(line, number, f"{source}, line {number}")
    if num_steps is not None and len(lines) < num_steps:
        raise UserError(
            f"{source}: ends at step {len(lines)}, but the run made {num_steps}. {WHAT_TO_DO}"
        )
    return list(lines[:num_steps])


def _check_line(line: Any, step: int, where: str) -> None:
    if not isinstance(line, dict):
        raise UserError(f"{where}: expected an object, got {line!r:.80}. {WHAT_TO_DO}")
    if type(line.get("step")) is not int or line["step"] != step:
        raise UserError(
            f"{where}: expected step {step}, got {line.get('step')!r:.80}. {WHAT_TO_DO}"
        )
    for name, value in line.items():
        if name != "stage" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"{where}, {name}: expected a number, got {value!r:.80}. {WHAT_TO_DO}")
