"""Replies of an RL run: rollouts/<step>.jsonl, and in_flight/<step>.jsonl of a run that samples one step ahead.

in_flight/<step>.jsonl belongs to checkpoints/<step> and is written before it. It has no line if no reply waits.
"""

from collections.abc import Sequence

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import atomic_write_bytes, glob_in, remove_others
from jaxreason.results.jsonl import jsonl_bytes, read_jsonl

ROLLOUTS = "rollouts"
IN_FLIGHT = "in_flight"


def rollouts_path(workdir: epath.PathLike, step: int) -> epath.Path:
    """Returns the file of the replies of a step."""
    return epath.Path(workdir) / ROLLOUTS / f"{step}.jsonl"


def rollout_steps(workdir: epath.PathLike) -> list[int]:
    """Returns the steps whose replies exist, in order."""
    files = glob_in(epath.Path(workdir) / ROLLOUTS, "*.jsonl")
    return sorted(int(path.stem) for path in files if path.stem.isdecimal())


def write_rollouts(workdir: epath.PathLike, step: int, lines: Sequence[dict]) -> None:
    """Writes the replies of a step, all or none; docs/rl.md describes the lines."""
    atomic_write_bytes(rollouts_path(workdir, step), jsonl_bytes(lines))


def read_rollouts(workdir: epath.PathLike, step: int) -> list[dict]:
    """Returns the replies of a step.

    Raises:
      UserError: a line is not a JSON object; the message has file and line.
    """
    return read_jsonl(rollouts_path(workdir, step))


def in_flight_path(workdir: epath.PathLike, step: int) -> epath.Path:
    """Returns the file of the replies that wait after `step` steps."""
    return epath.Path(workdir) / IN_FLIGHT / f"{step}.jsonl"


def write_in_flight(
    workdir: epath.PathLike, step: int, lines: Sequence[dict], steps: Sequence[int]
) -> None:
    """Writes the replies that wait after `step` steps, all or none; removes those of steps that are not in `steps`."""
    path = in_flight_path(workdir, step)
    atomic_write_bytes(path, jsonl_bytes(lines))
    remove_others(path.parent, [in_flight_path(workdir, n).name for n in (step, *steps)])


def read_in_flight(workdir: epath.PathLike, step: int) -> list[dict]:
    """Returns the lines of the replies that wait after `step` steps.

    Raises:
      UserError: the file does not exist, or a line is not a JSON object.
    """
    path = in_flight_path(workdir, step)
    if not path.exists():
        raise UserError(
            f"{path}: not found: the replies of step {step + 1} were sampled by an older policy and cannot be "
            f"made again. Put back a copy, or remove {path.parent.parent / 'checkpoints' / str(step)} to go on from "
            "the checkpoint before."
        )
    return read_jsonl(path)
