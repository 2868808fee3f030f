"""The small files of a training run; each format has one writer and one reader.

They are metrics.jsonl (one line per step), validation/<step>/validation.json, decontamination.json (which training
questions also occur in a benchmark), base_replies.json (the base's replies to training prompts), and training_prompts/
of a study (the prompts on which drift is measured and the replies of its models, named by a hash of their origin).
"""

from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import read_object, remove_folder, write_json
from jaxreason.results.claims import digest, plain_json
from jaxreason.results.jsonl import JsonlWriter, grown_exists, read_jsonl, write_jsonl

METRICS = "metrics.jsonl"
METRICS_REMEDY = (
    "Put the file back as the run wrote it, or remove the run's folder and train it again."
)
VALIDATION = "validation"
VALIDATION_RECORD = "validation.json"
DECONTAMINATION = "decontamination.json"
DECONTAMINATION_SHAPE = {
    "removed": dict,
    "benchmarks": dict,
    "unread": dict,
    "found_later": dict,
    "items": list,
}
BASE_REPLIES = "base_replies.json"
# It is also the name of their unit in drift.
TRAINING_PROMPTS = "training_prompts"
Tokens = list[int]


def metrics_path(workdir: epath.PathLike) -> epath.Path:
    """Returns the file of a training run's metrics."""
    return epath.Path(workdir) / METRICS


def metrics_writer(workdir: epath.PathLike, resume_step: int) -> JsonlWriter:
    """Opens the metrics of a run for appending; lines of steps after `resume_step` are dropped first."""
    return JsonlWriter(metrics_path(workdir), keep=lambda row: row["step"] <= resume_step)


def amend_metrics(workdir: epath.PathLike, step: int, values: dict[str, float]) -> bool:
    """Adds numbers to the line of a step that was written without them, before a run continues from there.

    Returns whether it was.
    """
    path = metrics_path(workdir)
    rows = read_jsonl(path)
    amended = [row | values if row["step"] == step else row for row in rows]
    if amended != rows:
        write_jsonl(path, amended)
    return amended != rows


def read_metrics(path: epath.PathLike, num_steps: int | None = None) -> list[dict[str, Any]]:
    """Returns the lines of a metrics file, checked as `check_metrics` does.

    Raises:
      UserError: the file is missing, is not jsonl, or lacks steps; the message has file and line.
    """
    if not grown_exists(path):
        raise UserError(f"{path}: not found. {METRICS_REMEDY}")
    return check_metrics(read_jsonl(path), str(path), num_steps)


def check_metrics(
    lines: Sequence[dict[str, Any]], source: str, num_steps: int | None = None
) -> list[dict[str, Any]]:
    """Returns the lines of steps 1, 2, ... `num_steps`, each of which must be there once and in order.

    Args:
      lines: of the file, in order.
      source: the file's name, for messages.
      num_steps: number of steps that the run made, or made before it resumes. Lines of later steps, which a killed run
        wrote after its last checkpoint, are checked too but not returned. None if the run has not ended: then all
        lines.

    Raises:
      UserError: a step is missing, doubled or out of order, or a line has values that are not numbers.
    """
    for number, line in enumerate(lines, start=1):
        _check_line(line, number, f"{source}, line {number}")
    if num_steps is not None and len(lines) < num_steps:
        raise UserError(
            f"{source}: ends at step {len(lines)}, but the run made {num_steps}. {METRICS_REMEDY}"
        )
    return list(lines[:num_steps])


def _check_line(line: Any, step: int, where: str) -> None:
    if not isinstance(line, dict):
        raise UserError(f"{where}: expected an object, got {line!r:.80}. {METRICS_REMEDY}")
    if type(line.get("step")) is not int or line["step"] != step:
        raise UserError(
            f"{where}: expected step {step}, got {line.get('step')!r:.80}. {METRICS_REMEDY}"
        )
    for name, value in line.items():
        if name != "stage" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(
                f"{where}, {name}: expected a number, got {value!r:.80}. {METRICS_REMEDY}"
            )


def validation_folder(workdir: epath.PathLike, step: int) -> epath.Path:
    """Returns the folder with the samples, grades and scores of a step's validation."""
    return epath.Path(workdir) / VALIDATION / str(step)


def begin_validation(folder: epath.Path, made_with: dict[str, Any]) -> bool:
    """Prepares a step's folder for a validation; files of other weights or of another benchmark are removed.

    What an older record does not say is not compared.

    Returns:
      Whether something was removed.
    """
    path = folder / VALIDATION_RECORD
    if path.exists():
        there = read_object(path, {"made_with": dict})["made_with"]
        if there == {k: v for k, v in plain_json(made_with).items() if k in there}:
            return False
    other = folder.exists()
    if other:
        remove_folder(folder)
    write_json(path, {"made_with": made_with, "score": None})
    return other


def end_validation(folder: epath.Path, score: float) -> None:
    """Marks the validation as complete, with its score."""
    path = folder / VALIDATION_RECORD
    write_json(path, read_object(path, {"made_with": dict}) | {"score": score})


def validation_score(folder: epath.Path, asked: str = "") -> float | None:
    """Returns the score of a finished validation; None if it has not finished, never began, or was asked other
    questions than `asked`, if that is given.
    """
    path = folder / VALIDATION_RECORD
    if not path.exists():
        return None
    record = read_object(path, {"made_with": dict})
    same = not asked or record["made_with"].get("asked", asked) == asked
    return record["score"] if same else None


def validation_scores(workdir: epath.PathLike, asked: str = "") -> dict[int, float]:
    """Returns step -> score of all finished validations of a run, ordered by step.

    With `asked`, a hash of questions, those that were asked others are left out.
    """
    folder = epath.Path(workdir) / VALIDATION
    if not folder.exists():
        return {}
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    scores = {step: validation_score(folder / str(step), asked) for step in steps}
    return {step: score for step, score in scores.items() if score is not None}


def decontamination_path(folder: epath.PathLike) -> epath.Path:
    """Returns the file of a run's decontamination report."""
    return epath.Path(folder) / DECONTAMINATION


def write_decontamination(folder: epath.PathLike, report: dict[str, Any]) -> epath.Path:
    """Writes the report, completely or not at all, unless it exists; docs/questions.md describes its content."""
    path = decontamination_path(folder)
    if not path.exists() or read_decontamination(path) != report:
        write_json(path, report)
    return path


def read_decontamination(path: epath.Path) -> dict[str, Any]:
    """Returns the content of a decontamination report.

    Raises:
      UserError: it is missing or broken; the message names it.
    """
    if not path.exists():
        raise UserError(f"{path}: not found; a run writes it before it reads its questions.")
    return read_object(path, DECONTAMINATION_SHAPE)


def removed_questions(path: epath.Path) -> set[str]:
    """Returns the hashes (`data.examples.question_hash`) of the questions that are left out.

    Raises:
      UserError: as `read_decontamination`.
    """
    return {item["question"] for item in read_decontamination(path)["items"]}


def write_base_replies(
    workdir: epath.PathLike,
    made_with: dict[str, Any],
    replies: Sequence[Sequence[int]],
    name: str = BASE_REPLIES,
) -> None:
    """Writes the token ids of the replies, and their origin: model, sampling and prompts."""
    value = {"made_with": made_with, "replies": [list(reply) for reply in replies]}
    write_json(epath.Path(workdir) / name, value)


def read_base_replies(
    workdir: epath.PathLike, made_with: dict[str, Any], name: str = BASE_REPLIES
) -> list[tuple[int, ...]] | None:
    """Returns the replies in the order of the prompts; None if there are none with exactly this origin."""
    path = epath.Path(workdir) / name
    if not path.exists():
        return None
    found = read_object(path, {"made_with": dict, "replies": list})
    if found["made_with"] != plain_json(made_with):
        return None
    return [tuple(reply) for reply in found["replies"]]


def write_training_file(
    workdir: epath.PathLike, kind: str, made_with: dict[str, Any], tokens: Sequence[Sequence[int]]
) -> None:
    """Writes token ids.

    Args:
      workdir: of the study.
      kind: `prompts` or `replies`.
      made_with: what they depend on.
      tokens: of each prompt, or of the reply to each, in the order of the prompts.
    """
    folder = epath.Path(workdir) / TRAINING_PROMPTS
    write_base_replies(folder, made_with, tokens, _training_file_name(kind, made_with))


def read_training_file(
    workdir: epath.PathLike, kind: str, made_with: dict[str, Any]
) -> list[Tokens] | None:
    """Reads a file of `write_training_file`; None if there is none that was made with exactly these inputs.

    Raises:
      UserError: the file is broken; the message names it.
    """
    folder = epath.Path(workdir) / TRAINING_PROMPTS
    found = read_base_replies(folder, made_with, _training_file_name(kind, made_with))
    return None if found is None else [list(tokens) for tokens in found]


def _training_file_name(kind: str, made_with: dict[str, Any]) -> str:
    return f"{kind}.{digest(plain_json(made_with))[:16]}.json"
