"""Whole-or-nothing files: text, JSON and lines of JSON, as every stage writes and reads them."""

import json
import os
from collections.abc import Iterator
from typing import Any

from etils import epath

from jaxreason.errors import UserError


def absolute(path: epath.PathLike) -> epath.Path:
    """The path from the root, as Orbax and sections with a folder of their own need it; `gs://...` is one already."""
    return epath.Path(path if "://" in os.fspath(path) else os.path.abspath(path))


def atomic_write_text(path: epath.PathLike, text: str) -> None:
    """Write a whole file or none: to a temporary name beside it, then renamed."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{path.name}.tmp-{os.getpid()}"
    temporary.write_text(text)
    temporary.replace(path)


def write_json(path: epath.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    atomic_write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: epath.PathLike) -> Any:
    """The value in a JSON file; a broken file is a ValueError with its path."""
    try:
        return json.loads(epath.Path(path).read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from error


def read_jsonl(path: epath.PathLike) -> list[dict]:
    """The rows of a jsonl file. A last line without its newline was cut off by a kill and is not a row."""
    return list(_complete_lines(epath.Path(path)))


def _complete_lines(path: epath.Path) -> Iterator[dict]:
    lines = path.read_text().split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error}).") from error


class JsonlWriter:
    """Appends rows to a jsonl file, each whole and flushed; drops a last line that a kill cut off.

    The file is rewritten on opening when its last line is incomplete. `keep`, if given, also drops the rows
    for which it is false, as a resumed run does with the rows after the step that it resumes from.
    """

    def __init__(self, path: epath.PathLike, keep=None):
        self.path = epath.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._restore(keep)
        self._file = self.path.open("a")

    def _restore(self, keep) -> None:
        rows = [row for row in read_jsonl(self.path) if keep is None or keep(row)]
        text = "".join(_line(row) for row in rows)
        if text != self.path.read_text():
            atomic_write_text(self.path, text)

    def write(self, row: dict) -> None:
        """Append one row."""
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
