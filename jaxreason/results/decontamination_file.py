"""decontamination.json of a training run: which of its questions are a benchmark's; one writer, one reader."""

from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import read_object, write_json

DECONTAMINATION = "decontamination.json"
SHAPE = {"removed": dict, "benchmarks": dict, "unread": dict, "found_later": dict, "items": list}


def decontamination_path(folder: epath.PathLike) -> epath.Path:
    """Where the file of a run lies."""
    return epath.Path(folder) / DECONTAMINATION


def write_decontamination(folder: epath.PathLike, report: dict[str, Any]) -> epath.Path:
    """Writes it, whole or not at all, where it is not there already; docs/questions.md says what is in it."""
    path = decontamination_path(folder)
    if not path.exists() or read_decontamination(path) != report:
        write_json(path, report)
    return path


def read_decontamination(path: epath.Path) -> dict[str, Any]:
    """What the file holds.

    Raises:
      UserError: there is none, or it is broken; names it.
    """
    if not path.exists():
        raise UserError(f"{path}: not found; a run writes it before it reads its questions.")
    return read_object(path, SHAPE)


def removed_questions(path: epath.Path) -> set[str]:
    """The hashes (`data.examples.question_hash`) of the questions that are left out.

    Raises:
      UserError: as `read_decontamination`.
    """
    return {item["question"] for item in read_decontamination(path)["items"]}
