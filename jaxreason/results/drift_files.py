"""analysis/<metric>.json of a run: how far its model is from the base; one writer, one reader."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from etils import epath

from jaxreason.results.files import is_remote, read_object, remove, remove_folder, write_json

ANALYSIS = "analysis"
MADE_WITH = "made_with"
SHAPE = {"metric": str, "rows": list, "groups": list, "details": dict}
PART = {MADE_WITH: dict, "metrics": dict}

Read = Callable[[epath.Path, Mapping[str, type]], dict[str, Any]]


def drift_folder(workdir: epath.PathLike) -> epath.Path:
    """The folder of what was measured of a run."""
    return epath.Path(workdir) / ANALYSIS


def drift_path(workdir: epath.PathLike, metric: str) -> epath.Path:
    """Where a metric of a run lies."""
    return drift_folder(workdir) / f"{metric}.json"


def drift_part_path(workdir: epath.PathLike, unit: str) -> epath.Path:
    """Where the measurements of a unit (`<benchmark>.<source>`) are kept until all are done."""
    return drift_folder(workdir) / "parts" / f"{unit}.json"


def write_drift(workdir: epath.PathLike, metric: str, value: dict[str, Any]) -> None:
    """Writes a metric, whole or not at all; docs/drift.md says what is in it."""
    write_json(drift_path(workdir, metric), value)


def write_drift_part(workdir: epath.PathLike, unit: str, value: dict[str, Any]) -> None:
    """Writes the measurements of a unit."""
    write_json(drift_part_path(workdir, unit), value)


def read_drift(
    workdir: epath.PathLike, metric: str, read: Read = read_object
) -> dict[str, Any] | None:
    """What is known of a metric; None if it was not measured.

    Args:
      workdir: of the run.
      metric: its name.
      read: how its object is read.

    Raises:
      UserError: the file is broken, or holds something else.
    """
    path = drift_path(workdir, metric)
    return read(path, SHAPE) if path.exists() else None


def read_drift_part(workdir: epath.PathLike, unit: str) -> dict[str, Any] | None:
    """The measurements of a unit; None if there are none.

    Raises:
      UserError: the file is broken, or holds something else.
    """
    path = drift_part_path(workdir, unit)
    return read_object(path, PART) if path.exists() else None


def remove_drift_parts(workdir: epath.PathLike, prefix: str = "") -> None:
    """Removes the measurements of units (whose names begin with `prefix`), once the metrics are written."""
    folder = drift_folder(workdir) / "parts"
    if not prefix:
        remove_folder(folder)
    elif folder.exists():
        for path in folder.glob(f"{prefix}*.json"):
            remove(path)
        for empty in () if is_remote(folder) else (folder, folder.parent):  # a bucket has none
            if not any(empty.iterdir()):
                empty.rmdir()


def undefined_in(value: dict[str, Any]) -> dict[str, str]:
    """Why a metric's file lacks rows, by unit (`<benchmark>.<source>`); under "" where these models have none."""
    details = value["details"]
    if "undefined" in details:
        return {"": details["undefined"]}
    units = [unit for unit in details.get("units", []) if "undefined" in unit]
    return {f"{unit['benchmark']}.{unit.get('source', '')}": unit["undefined"] for unit in units}


def measured(workdir: epath.PathLike) -> Iterator[dict[str, Any]]:
    """Every metric of a run that is there, by name.

    Raises:
      UserError: as `read_drift`.
    """
    for path in sorted(drift_folder(workdir).glob("*.json")):
        yield read_object(path, SHAPE)
