"""transfer.json of a study or of a published table: the transferability index, its one writer and one reader."""

from collections.abc import Callable
from typing import Any

from etils import epath

from jaxreason.results.files import read_object, write_json

TRANSFER = "transfer.json"
SHAPE = {"config": dict, "scales": dict, "rows": list, "sensitivity": list}


def transfer_path(folder: epath.PathLike) -> epath.Path:
    """Where the index of a study lies."""
    return epath.Path(folder) / TRANSFER


def write_transfer(
    folder: epath.PathLike,
    config: dict[str, Any],
    scales: dict[str, dict[str, float]],
    rows: list[dict],
    sensitivity: list[dict],
) -> None:
    """Writes it, whole or not at all; docs/evaluation_files.md says what the rows are.

    Args:
      folder: of the study.
      config: what the index was computed with.
      scales: decoding -> group -> the deviation that was used.
      rows: the index.
      sensitivity: the index without each benchmark.
    """
    value = {"config": config, "scales": scales, "rows": rows, "sensitivity": sensitivity}
    write_json(transfer_path(folder), value)


def read_transfer(
    folder: epath.PathLike, read: Callable[[epath.Path, dict[str, type]], dict] = read_object
) -> dict[str, Any] | None:
    """What it holds; None if there is none.

    Args:
      folder: of the study.
      read: how its object is read.

    Raises:
      UserError: the file is broken, or holds something else.
    """
    path = transfer_path(folder)
    return read(path, SHAPE) if path.exists() else None
