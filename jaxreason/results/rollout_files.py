"""rollouts/<step>.jsonl of an RL run: every reply of a step; one writer, one reader."""

from collections.abc import Sequence

from etils import epath

from jaxreason.results.files import atomic_write_bytes
from jaxreason.results.jsonl import jsonl_bytes, read_jsonl

ROLLOUTS = "rollouts"


def rollouts_path(workdir: epath.PathLike, step: int) -> epath.Path:
    """Where the replies of a step lie."""
    return epath.Path(workdir) / ROLLOUTS / f"{step}.jsonl"


def rollout_steps(workdir: epath.PathLike) -> list[int]:
    """The steps whose replies are there, in order."""
    files = (epath.Path(workdir) / ROLLOUTS).glob("*.jsonl")
    return sorted(int(path.stem) for path in files if path.stem.isdigit())


def write_rollouts(workdir: epath.PathLike, step: int, lines: Sequence[dict]) -> None:
    """Writes the replies of a step, all or none; docs/rl.md says what is in a line."""
    atomic_write_bytes(rollouts_path(workdir, step), jsonl_bytes(lines))


def read_rollouts(workdir: epath.PathLike, step: int) -> list[dict]:
    """The replies of a step.

    Raises:
      UserError: a line is no JSON object; names file and line.
    """
    return read_jsonl(rollouts_path(workdir, step))
