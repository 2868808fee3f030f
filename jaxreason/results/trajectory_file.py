"""A run's steps evaluated against its base: a folder for each, and trajectory.json, its one writer and one reader."""

from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import read_object, write_json

TRAJECTORY = "trajectory.json"
STEPS = "steps"
SHAPE = {"run": str, "variant": str, "decoding": str, "steps": list, "missed": list, "best": dict}
STEP = {"step": int, "scores": list, "groups": list, "index": list, "kl": list}


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


def read_trajectory(folder: epath.PathLike) -> dict[str, Any]:
    """What it holds.

    Raises:
      UserError: the file is broken, or holds something else; names it.
    """
    path = trajectory_path(folder)
    value = read_object(path, SHAPE)
    for number, step in enumerate(value["steps"], start=1):
        if not isinstance(step, dict) or not all(
            isinstance(step.get(name), kind) for name, kind in STEP.items()
        ):
            raise UserError(
                f"{path}, step {number} of the list: expected {', '.join(STEP)}, got {step!r:.80}. "
                "Remove the file: the same command makes it again."
            )
    return value
