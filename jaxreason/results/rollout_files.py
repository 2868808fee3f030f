"""rollouts/<step>.jsonl of an RL run: every reply of a step; one writer, one reader."""

import json
from collections.abc import Sequence

from etils import epath

from jaxreason.results.files import atomic_write_text
from jaxreason.results.jsonl import read_jsonl

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
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    atomic_write_text(rollouts_path(workdir, step), text)


def read_rollouts(workdir: epath.PathLike, step: int) -> list[dict]:
    """The replies of a step.

    Raises:
      UserError: a line is no JSON object; names file and line.
    """
    return read_jsonl(rollouts_path(workdir, step))
