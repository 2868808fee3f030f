"""Files of a distillation: a teacher's replies, a grader's verdicts on them, and the dataset; docs/distillation.md.

A reply depends on the teacher, the question, the decoding and the seed. Verdicts, and the choice of replies, are in
other files, so a better grader or a different choice never costs a new reply.
"""

from collections.abc import Mapping
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import read_object, write_json
from jaxreason.results.claims import DONE
from jaxreason.results.jsonl import grown_exists, read_jsonl

DISTILL = "distill"
YIELD = "yield.json"
# The type of each field of a line; None allows null.
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
    """Returns the folder of a distillation in its working directory."""
    return epath.Path(workdir) / DISTILL


def distill_replies_path(folder: epath.Path, name: str) -> epath.Path:
    """Returns the file with one line for each reply of a pass over the questions, in the distillation `folder`."""
    return folder / "replies" / f"{name}.jsonl"


def replies_head(name: str) -> str:
    """Returns the name of the record beside it, which says what it was made with."""
    return f"{name}.head.json"


def verdicts_path(folder: epath.Path, name: str) -> epath.Path:
    """Returns the file with one line for each graded reply of a pass."""
    return folder / "verdicts" / f"{name}.jsonl"


def data_folder(folder: epath.Path) -> epath.Path:
    """Returns the folder of the dataset's shards."""
    return folder / "data"


def shard_path(folder: epath.Path, number: int) -> epath.Path:
    """Returns the path of shard `number` (from 1) of the dataset."""
    return data_folder(folder) / f"{number:05d}.jsonl"


def is_unfinished(data: epath.Path) -> bool:
    """Returns whether a folder is that of the shards of a distillation which has not ended as it was asked to."""
    folder = data.parent
    return folder.name == DISTILL and data == data_folder(folder) and not (folder / DONE).exists()


def read_replies(folder: epath.Path, name: str) -> list[dict[str, Any]]:
    """Returns the replies of a pass so far; none if nothing was asked yet.

    Raises:
      UserError: a line is not a reply; the message has file and line.
    """
    remedy = "Remove the line: the reply is asked for again."
    return _read(distill_replies_path(folder, name), REPLY, remedy)


def read_verdicts(folder: epath.Path, name: str) -> list[dict[str, Any]]:
    """Returns the graders' verdicts on the replies of a pass so far.

    Raises:
      UserError: a line is not a verdict; the message has file and line.
    """
    return _read(verdicts_path(folder, name), VERDICT, "Remove the file: it is made again.")


def write_yield(folder: epath.Path, told: dict[str, Any]) -> None:
    """Writes the yield of a distillation."""
    write_json(folder / YIELD, told)


def read_yield(folder: epath.Path) -> dict[str, Any]:
    """Reads the file of `write_yield`.

    Raises:
      UserError: it is broken or missing.
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
