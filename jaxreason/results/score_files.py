"""scores.json: the means of an evaluation, made from its sample and grade files in one piece."""

from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.evaluation_lines import SampleKey
from jaxreason.results.files import read_json, write_json

SCORES = "scores.json"
EVALUATION = "evaluation"  # an evaluation's folder in that of its model
_NEEDED = {"benchmark", "prompt", "grader", "variant", "group", "decoding", "metric", "primary"}


def write_scores(folder: epath.Path, value: dict[str, Any]) -> None:
    """Writes scores.json of the evaluation in `folder`."""
    write_json(folder / SCORES, value)


def is_finished(folder: epath.Path) -> bool:
    """Whether the evaluation in `folder` has its scores."""
    return (folder / SCORES).exists()


def read_score_rows(folder: epath.Path, variant: str | None = None) -> list[dict]:
    """The rows of a finished evaluation's scores.json.

    Args:
      folder: of the evaluation.
      variant: only rows of this variant ("robust", "paper"); None for all.

    Raises:
      UserError: when the evaluation in `folder` has not finished (or never ran), or the file is
        not one.
    """
    path = folder / SCORES
    if not is_finished(folder):
        raise UserError(f"{path}: not found; this evaluation has not finished.")
    return of_variant(score_rows(read_json(path), str(path)), variant)


def score_rows(value: Any, source: str) -> list[dict]:
    """The rows in the value of a scores.json; `source` names it in messages."""
    rows = value.get("rows") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(r, dict) and set(r) >= _NEEDED for r in rows
    ):
        raise UserError(
            f"{source}: expected a list 'rows' of objects with {', '.join(sorted(_NEEDED))}. "
            "Remove the file and evaluate again: it is made from the sample files."
        )
    return rows


def of_variant(rows: list[dict], variant: str | None) -> list[dict]:
    """The rows of a variant, or all."""
    return [row for row in rows if variant in (None, row["variant"])]


def key_of(row: dict) -> SampleKey:
    """The sample file that a row was made from."""
    return SampleKey(row["benchmark"], row["prompt"], row["decoding"])
