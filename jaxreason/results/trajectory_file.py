"""A run's steps evaluated against its base: a folder for each, and trajectory.json, its one writer and one reader."""

from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import read_object, write_json

TRAJECTORY = "trajectory.json"
STEPS = "steps"
SHAPE = {"run": str, "variant": str, "decoding": str, "steps": list, "missed": list, "best": dict}
STEP = {"step": int, "scores": list, "groups": list, "index": list, "drift": list}
OLD_DRIFT = {
    "metric": "token_kl",
    "source": "tuned",
}  # of every row of `kl`, which older files have instead of `drift`
LATER = {"elsewhere": {}, "base": "", "method": "", "seed": 0}  # what older files do not have
INSIDE = "trajectory"  # the folder of a trajectory that a study makes, in that of the run

Read = Callable[[epath.Path, Mapping[str, type]], dict[str, Any]]


def trajectory_path(folder: epath.PathLike) -> epath.Path:
    """Where the trajectory in a working directory lies."""
    return epath.Path(folder) / TRAJECTORY


def step_folder(folder: epath.PathLike, step: int) -> epath.Path:
    """Where what was found of a step lies."""
    return epath.Path(folder) / STEPS / str(step)


def begun_steps(folder: epath.PathLike) -> list[int]:
    """Steps of which something is there, in order."""
    steps = epath.Path(folder) / STEPS
    names = [path.name for path in steps.iterdir()] if steps.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def write_trajectory(folder: epath.PathLike, value: dict[str, Any]) -> None:
    """Writes it, whole or not at all; docs/working_directory.md says what is in it."""
    write_json(trajectory_path(folder), value)


def read_trajectory(folder: epath.PathLike, read: Read = read_object) -> dict[str, Any]:
    """What it holds.

    Args:
      folder: of the trajectory.
      read: how its object is read.

    Raises:
      UserError: the file is broken, or holds something else; names it.
    """
    path = trajectory_path(folder)
    value = read(path, SHAPE)
    steps = [_step(row, number, path) for number, row in enumerate(value["steps"], start=1)]
    return {**LATER, **value, "steps": steps}


def is_complete(folder: epath.PathLike) -> bool:
    """Whether a trajectory is there to which nothing will be added.

    Raises:
      UserError: as `read_trajectory`.
    """
    return trajectory_path(folder).exists() and bool(read_trajectory(folder).get("complete"))


def _step(row: Any, number: int, path: epath.Path) -> dict[str, Any]:
    if isinstance(row, dict) and isinstance(row.get("kl"), list) and "drift" not in row:
        rest = {name: value for name, value in row.items() if name != "kl"}
        row = rest | {"drift": [OLD_DRIFT | old for old in row["kl"]]}
    if not isinstance(row, dict) or not all(
        isinstance(row.get(n), kind) for n, kind in STEP.items()
    ):
        raise UserError(
            f"{path}, step {number} of the list: expected {', '.join(STEP)}, got {row!r:.80}. "
            "Remove the file: the same command makes it again."
        )
    return row
