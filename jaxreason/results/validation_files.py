"""What a training run knows of its validations: `validation/<step>/validation.json`, beside the evaluation's files."""

from typing import Any

from etils import epath

from jaxreason.results.claims import plain
from jaxreason.results.files import read_object, remove_folder, write_json

VALIDATION = "validation"
RECORD = "validation.json"


def validation_folder(workdir: epath.PathLike, step: int) -> epath.Path:
    """Where the samples, grades and scores of a step's validation are."""
    return epath.Path(workdir) / VALIDATION / str(step)


def begin_validation(folder: epath.Path, made_with: dict[str, Any]) -> bool:
    """Takes a step's folder for a validation; what is there of other weights or another benchmark is removed.

    Returns:
      Whether something was removed.
    """
    path = folder / RECORD
    if path.exists() and read_object(path, {"made_with": dict})["made_with"] == plain(made_with):
        return False
    other = folder.exists()
    if other:
        remove_folder(folder)
    write_json(path, {"made_with": made_with, "score": None})
    return other


def end_validation(folder: epath.Path, score: float) -> None:
    """Says that all of it is there, and how it came out."""
    path = folder / RECORD
    write_json(path, read_object(path, {"made_with": dict}) | {"score": score})


def validation_score(folder: epath.Path) -> float | None:
    """The score of a finished validation; None of one that has not finished or never began."""
    path = folder / RECORD
    return read_object(path, {"made_with": dict})["score"] if path.exists() else None


def validation_scores(workdir: epath.PathLike) -> dict[int, float]:
    """Step -> score of all finished validations of a run, by step."""
    folder = epath.Path(workdir) / VALIDATION
    if not folder.exists():
        return {}
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    scores = {step: validation_score(folder / str(step)) for step in steps}
    return {step: score for step, score in scores.items() if score is not None}
