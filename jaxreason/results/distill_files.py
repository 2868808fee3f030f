"""Files of a distillation: what a teacher said, what a grader thinks of it, and the dataset; docs/distillation.md.

A reply depends on the teacher, what it is asked, the decoding and the seed. What is thought of it and which replies are
kept is elsewhere, so that a better grader or another choice never costs a reply.
"""

from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import read_object, write_json
from jaxreason.results.jsonl import grown_exists, read_jsonl

DISTILL = "distill"
YIELD = "yield.json"
# What each field of a line is; None allows null.
REPLY = {
    "id": (str,),
    "sample": (int,),
    "of": (str,),
    "content": (str,),
    "reasoning_content": (str, type(None)),
    "finish_reason": (str,),
    "num_tokens": (int, type(None)),
}
VERDICT = {
    "id": (str,),
    "sample": (int,),
    "of": (str,),
    "correct": (int, float, type(None)),
    "scores": (dict,),
    "extracted": (str, type(None)),
    "error": (str, type(None)),
}


def distill_folder(workdir: epath.PathLike) -> epath.Path:
    """The folder of a distillation in its working directory."""
    return epath.Path(workdir) / DISTILL


def distill_replies_path(folder: epath.Path, name: str) -> epath.Path:
    """A line for each reply of a pass over the questions, in the distillation `folder`."""
    return folder / "replies" / f"{name}.jsonl"


def replies_head(name: str) -> str:
    """The name of the record beside it: what it is made with."""
    return f"{name}.head.json"


def verdicts_path(folder: epath.Path, name: str) -> epath.Path:
    """A line for each graded reply of a pass."""
    return folder / "verdicts" / f"{name}.jsonl"


def data_folder(folder: epath.Path) -> epath.Path:
    """The folder of the dataset's shards."""
    return folder / "data"


def shard_path(folder: epath.Path, number: int) -> epath.Path:
    """Shard `number` (from 1) of the dataset."""
    return data_folder(folder) / f"{number:05d}.jsonl"


def read_replies(folder: epath.Path, name: str) -> list[dict[str, Any]]:
    """The replies of a pass so far; none where nothing was asked.

    Raises:
      UserError: a line is no reply; names file and line.
    """
    remedy = "Remove the line: the reply is asked for again."
    return _read(distill_replies_path(folder, name), REPLY, remedy)


def read_verdicts(folder: epath.Path, name: str) -> list[dict[str, Any]]:
    """The verdicts of graders on the replies of a pass so far.

    Raises:
      UserError: a line is no verdict; names file and line.
    """
    return _read(verdicts_path(folder, name), VERDICT, "Remove the file: it is made again.")


def write_yield(folder: epath.Path, told: dict[str, Any]) -> None:
    """Writes what a distillation yielded."""
    write_json(folder / YIELD, told)


def read_yield(folder: epath.Path) -> dict[str, Any]:
    """Reads the file of `write_yield`.

    Raises:
      UserError: it is broken, or is none.
    """
    return read_object(folder / YIELD, {"passes": dict, "rows": int})


def _read(path: epath.Path, fields: Mapping[str, tuple], remedy: str) -> list[dict[str, Any]]:
    lines = read_jsonl(path) if grown_exists(path) else []
    for number, line in enumerate(lines, start=1):
        for name, types in fields.items():
            if type(line.get(name, ...)) not in types:
                found = f"{line[name]!r:.80}" if name in line else "nothing"
                raise UserError(
                    f"{path}, line {number}, {name}: expected {_names(types)}, got {found}. {remedy}"
                )
    return lines


def _names(types: tuple[type, ...]) -> str:
    return " or ".join("null" if kind is type(None) else kind.__name__ for kind in types)
