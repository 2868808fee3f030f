"""Files about the distance of a model from its base; each format has one writer and one reader.

They are analysis/<metric>.json of a run, cross_sampling/ of a run (replies that one model writes, with some tokens
chosen by another), and weights_overlap.json of a study (which weights several runs changed alike).
"""

import math
from collections.abc import Iterator
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import (
    WHAT_TO_DO,
    glob_in,
    is_remote,
    read_object,
    remove,
    remove_folder,
    write_json,
)
from jaxreason.results.drift_shapes import check_drift_shape
from jaxreason.results.jsonl import read_jsonl, write_jsonl
from jaxreason.results.snapshots import CURRENT, Files

ANALYSIS = "analysis"
MADE_WITH = "made_with"
DRIFT_SHAPE = {"metric": str, "rows": list, "groups": list, "details": dict}
DRIFT_PART = {MADE_WITH: dict, "metrics": dict}
ALL_CHOICES = "all"  # The unlimited budget, in names and rows.
CROSS_SHAPE = {"benchmark": str, "label": str, "rule": str, "rows": list}
OVERLAP = "weights_overlap.json"
OVERLAP_SHAPE = {"made_with": dict, "bases": list}


def drift_folder(workdir: epath.PathLike) -> epath.Path:
    """Returns the folder of a run's measurements."""
    return epath.Path(workdir) / ANALYSIS


def drift_path(workdir: epath.PathLike, metric: str) -> epath.Path:
    """Returns the file of a metric of a run."""
    return drift_folder(workdir) / f"{metric}.json"


def drift_part_path(workdir: epath.PathLike, unit: str) -> epath.Path:
    """Returns the file that has the measurements of a unit (`<benchmark>.<source>`) until all units are done."""
    return drift_folder(workdir) / "parts" / f"{unit}.json"


def write_drift(workdir: epath.PathLike, metric: str, value: dict[str, Any]) -> None:
    """Writes a metric, completely or not at all; docs/drift.md describes its content."""
    write_json(drift_path(workdir, metric), value)


def write_drift_part(workdir: epath.PathLike, unit: str, value: dict[str, Any]) -> None:
    """Writes the measurements of a unit."""
    write_json(drift_part_path(workdir, unit), value)


def read_drift(
    workdir: epath.PathLike, metric: str, files: Files = CURRENT
) -> dict[str, Any] | None:
    """Returns the measurements of a metric; None if it was not measured.

    Args:
      workdir: of the run.
      metric: its name.
      files: those among which it is looked for.

    Raises:
      UserError: the file is broken or has a different content.
    """
    path = drift_path(workdir, metric)
    return (
        _checked(files.read(path, DRIFT_SHAPE), metric, str(path)) if files.exists(path) else None
    )


def read_drift_part(workdir: epath.PathLike, unit: str) -> dict[str, Any] | None:
    """Returns the measurements of a unit; None if there are none.

    Raises:
      UserError: the file is broken or has a different content.
    """
    path = drift_part_path(workdir, unit)
    return read_object(path, DRIFT_PART) if path.exists() else None


def remove_drift_parts(workdir: epath.PathLike, prefix: str = "") -> None:
    """Removes the measurements of units (whose names begin with `prefix`) once the metrics are written."""
    folder = drift_folder(workdir) / "parts"
    if not prefix:
        remove_folder(folder)
    elif folder.exists():
        for path in glob_in(folder, f"{prefix}*.json"):
            remove(path)
        # On a bucket there are no empty folders.
        for empty in () if is_remote(folder) else (folder, folder.parent):
            if not any(empty.iterdir()):
                empty.rmdir()


def undefined_in(value: dict[str, Any]) -> dict[str, str]:
    """Returns why a metric's file lacks rows, by unit (`<benchmark>.<source>`), or by "" if no unit has any."""
    details = value["details"]
    if "undefined" in details:
        return {"": details["undefined"]}
    units = [unit for unit in details.get("units", []) if "undefined" in unit]
    return {f"{unit['benchmark']}.{unit.get('source', '')}": unit["undefined"] for unit in units}


def metric_names(workdir: epath.PathLike, files: Files = CURRENT) -> list[str]:
    """Returns the names of the metrics that were measured of a run."""
    return [path.stem for path in files.matching(drift_folder(workdir), "*.json")]


def measured_drift(workdir: epath.PathLike) -> Iterator[dict[str, Any]]:
    """Yields every measured metric of a run, by name.

    Raises:
      UserError: as `read_drift`.
    """
    for name in metric_names(workdir):
        path = drift_path(workdir, name)
        yield _checked(read_object(path, DRIFT_SHAPE), name, str(path))


def _checked(value: dict[str, Any], metric: str, source: str) -> dict[str, Any]:
    """Returns a metric's file if it has its shape, and no number in it is NaN or infinite."""
    for place, wrong in _not_finite(value):
        raise UserError(f"{source}{place}: expected a finite number, got {wrong}. {WHAT_TO_DO}")
    check_drift_shape(value, metric, source)
    return value


def _not_finite(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Yields the numbers of a JSON value that are NaN or infinite, each after its place."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict) or (isinstance(value, list) and not _has_finite_sum(value)):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value, start=1):
            yield from _not_finite(one, f"{place}, {name}")


def _has_finite_sum(values: list) -> bool:
    """Returns whether a list is of finite numbers alone. Most numbers of a file are in such lists, as draws."""
    try:
        return math.isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


def cross_folder(workdir: epath.PathLike, benchmark: str) -> epath.Path:
    """Returns the folder of the replies to a benchmark."""
    return epath.Path(workdir) / "cross_sampling" / benchmark


def cross_replies_path(
    workdir: epath.PathLike, benchmark: str, leads: str, budget: str
) -> epath.Path:
    """Returns the file of replies that `leads` ("base" or "tuned") wrote with `budget` choices of the other model."""
    return cross_folder(workdir, benchmark) / f"{leads}.{budget}.jsonl"


def cross_result_path(workdir: epath.PathLike, benchmark: str) -> epath.Path:
    """Returns the file with the scores of all replies to a benchmark."""
    return epath.Path(workdir) / "cross_sampling" / f"{benchmark}.json"


def write_cross_replies(path: epath.Path, lines: list[dict[str, Any]]) -> None:
    """Writes all replies of one leader and budget."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path, lines)


def read_cross_replies(path: epath.Path) -> list[dict[str, Any]]:
    """Returns the replies of one leader and budget.

    Raises:
      UserError: a line is not a JSON object.
    """
    return read_jsonl(path)


def write_cross_result(workdir: epath.PathLike, value: dict[str, Any]) -> None:
    """Writes the scores of a benchmark; docs/drift.md describes the content of the file."""
    write_json(cross_result_path(workdir, value["benchmark"]), value)


def read_cross_results(workdir: epath.PathLike, files: Files = CURRENT) -> list[dict[str, Any]]:
    """Returns the scores of every benchmark that was cross-sampled, by name.

    Args:
      workdir: of the run.
      files: those among which they are looked for.

    Raises:
      UserError: a file is broken.
    """
    folder = epath.Path(workdir) / "cross_sampling"
    return [files.read(path, CROSS_SHAPE) for path in files.matching(folder, "*.json")]


def overlap_path(workdir: epath.PathLike) -> epath.Path:
    """Returns the file of the overlaps of a study."""
    return epath.Path(workdir) / OVERLAP


def write_overlap(workdir: epath.PathLike, value: dict[str, Any]) -> None:
    """Writes the overlaps, completely or not at all; docs/weights.md describes their content."""
    write_json(overlap_path(workdir), value)


def read_overlap(workdir: epath.PathLike, files: Files = CURRENT) -> dict[str, Any] | None:
    """Returns the measured overlaps; None if there are none.

    Args:
      workdir: of the study.
      files: those among which it is looked for.

    Raises:
      UserError: the file is broken or has a different content.
    """
    path = overlap_path(workdir)
    return files.read(path, OVERLAP_SHAPE) if files.exists(path) else None
