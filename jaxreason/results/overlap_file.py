"""weights_overlap.json of a study, or of several models that were compared: whose weights changed alike."""

from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from jaxreason.results.files import read_object, write_json

OVERLAP = "weights_overlap.json"
SHAPE = {"made_with": dict, "bases": list}

Read = Callable[[epath.Path, Mapping[str, type]], dict[str, Any]]


def overlap_path(workdir: epath.PathLike) -> epath.Path:
    """Where the overlaps of a study lie."""
    return epath.Path(workdir) / OVERLAP


def write_overlap(workdir: epath.PathLike, value: dict[str, Any]) -> None:
    """Writes the overlaps, whole or not at all; docs/weights.md says what is in them."""
    write_json(overlap_path(workdir), value)


def read_overlap(workdir: epath.PathLike, read: Read = read_object) -> dict[str, Any] | None:
    """The overlaps that were measured; None if there are none.

    Args:
      workdir: of the study.
      read: how its object is read.

    Raises:
      UserError: the file is broken, or holds something else.
    """
    path = overlap_path(workdir)
    return read(path, SHAPE) if path.exists() else None
