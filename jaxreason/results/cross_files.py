"""cross_sampling/ of a run: replies that one model writes with some choices of another; one writer, one reader."""

from typing import Any

from etils import epath

from jaxreason.results.files import read_object, write_json
from jaxreason.results.jsonl import read_jsonl, write_jsonl

ALL = "all"  # the budget that has no end, in names and rows
SHAPE = {"benchmark": str, "label": str, "rule": str, "rows": list}


def cross_folder(workdir: epath.PathLike, benchmark: str) -> epath.Path:
    """Where the replies to a benchmark lie."""
    return epath.Path(workdir) / "cross_sampling" / benchmark


def replies_path(workdir: epath.PathLike, benchmark: str, leads: str, budget: str) -> epath.Path:
    """Replies that `leads` ("base" or "tuned") wrote with `budget` choices of the other."""
    return cross_folder(workdir, benchmark) / f"{leads}.{budget}.jsonl"


def result_path(workdir: epath.PathLike, benchmark: str) -> epath.Path:
    """The scores of all replies to a benchmark."""
    return epath.Path(workdir) / "cross_sampling" / f"{benchmark}.json"


def write_replies_file(path: epath.Path, lines: list[dict[str, Any]]) -> None:
    """Writes all replies of one leader and budget."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path, lines)


def read_replies_file(path: epath.Path) -> list[dict[str, Any]]:
    """The replies of one leader and budget.

    Raises:
      UserError: a line is no JSON object.
    """
    return read_jsonl(path)


def write_result(workdir: epath.PathLike, value: dict[str, Any]) -> None:
    """Writes the scores of a benchmark; docs/drift.md says what is in the file."""
    write_json(result_path(workdir, value["benchmark"]), value)


def read_results(workdir: epath.PathLike, read: Any = read_object) -> list[dict[str, Any]]:
    """The scores of every benchmark that was cross-sampled, by name.

    Args:
      workdir: of the run.
      read: how an object is read.

    Raises:
      UserError: a file is broken.
    """
    folder = epath.Path(workdir) / "cross_sampling"
    return [read(path, SHAPE) for path in sorted(folder.glob("*.json"))]
