"""scores.json: the mean scores of an evaluation, made from its sample and grade files and written completely."""

import math
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import read_json, write_json
from jaxreason.results.sample_files import SampleKey

SCORES = "scores.json"
EVALUATION = "evaluation"  # An evaluation's folder inside that of its model.
_NEEDED = {"benchmark", "prompt", "grader", "variant", "group", "decoding", "metric", "primary"}
# The fields of a row, and of a group's mean, that are shown.
_MEASURED = {"variant", "group", "decoding", "mean", "low", "high", "n"}
_NUMBERS = {"mean", "low", "high"}
_SHOWN = _NEEDED | _MEASURED | {"label", "errors"}
_REMEDY = "Remove the file and evaluate again: it is made from the sample files."


def write_scores(folder: epath.Path, value: dict[str, Any]) -> None:
    """Writes scores.json of the evaluation in `folder`."""
    write_json(folder / SCORES, value)


def is_finished(folder: epath.Path) -> bool:
    """Returns whether the evaluation in `folder` has its scores."""
    return (folder / SCORES).exists()


def read_score_rows(folder: epath.Path, variant: str | None = None) -> list[dict]:
    """Returns the rows of a finished evaluation's scores.json.

    Args:
      folder: of the evaluation.
      variant: only rows of this variant ("robust", "paper"); None for all.

    Raises:
      UserError: the evaluation in `folder` has not finished (or never ran), or the file is broken.
    """
    path = folder / SCORES
    if not is_finished(folder):
        raise UserError(f"{path}: not found; this evaluation has not finished.")
    return rows_of_variant(parse_score_rows(read_json(path), str(path)), variant)


def read_scores(folder: epath.Path) -> tuple[list[dict], list[dict], float]:
    """Returns the rows of a finished evaluation's scores.json, its groups' means, and the confidence level.

    Raises:
      UserError: the file is broken.
    """
    path = folder / SCORES
    value = read_json(path)
    rows = _objects(value, "rows", _SHOWN, str(path))
    groups = _objects(value, "groups", _MEASURED, str(path))
    if not isinstance(value.get("confidence"), float):
        raise UserError(f"{path}: expected a number 'confidence'. {_REMEDY}")
    return rows, groups, value["confidence"]


def parse_score_rows(value: Any, source: str) -> list[dict]:
    """Returns the rows in the value of a scores.json; `source` names it in messages."""
    return _objects(value, "rows", _NEEDED, source)


def _objects(value: Any, name: str, needed: set[str], source: str) -> list[dict]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(
        isinstance(row, dict) and set(row) >= needed for row in found
    ):
        raise UserError(
            f"{source}: expected a list {name!r} of objects with {', '.join(sorted(needed))}. {_REMEDY}"
        )
    for row in found:
        _check_numbers(row, f"{source}, {name}")
    return found


def _check_numbers(row: dict, source: str) -> None:
    for name in sorted(_NUMBERS & set(row)):
        value = row[name]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value)):
            raise UserError(
                f"{source}: {name}: expected a number or null, got {value!r:.80}. {_REMEDY}"
            )


def rows_of_variant(rows: list[dict], variant: str | None) -> list[dict]:
    """Returns the rows of a variant, or all for None."""
    return [row for row in rows if variant in (None, row["variant"])]


def sample_key_of(row: dict) -> SampleKey:
    """Returns the key of the sample file from which a row was made."""
    return SampleKey(row["benchmark"], row["prompt"], row["decoding"])
