"""Whole-or-nothing files: text, JSON and lines of JSON, as every stage writes and reads them."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

from jaxreason.errors import UserError

WHAT_TO_DO = "Put back a copy of it, or remove it to have it made again."
_LEFTOVER = re.compile(r".+\.tmp-(\d+)")


def absolute(path: epath.PathLike) -> epath.Path:
    """The path from the root, as Orbax and sections with a folder of their own need it; `gs://...` is one already."""
    return epath.Path(path if "://" in os.fspath(path) else os.path.abspath(path))


def atomic_write_text(path: epath.PathLike, text: str) -> None:
    """Write a whole file or none: to a temporary name beside it, on the disk, then renamed.

    What processes that are gone left half-written in that folder is removed first. A bucket's files appear whole by
    themselves.

    Raises:
      OSError: the disk is full, or the path cannot be written; the file is then as it was.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if _is_remote(path):
        path.write_text(text)
        return
    _remove_leftovers(path.parent)
    temporary = path.parent / f"{path.name}.tmp-{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _is_remote(path: epath.PathLike) -> bool:
    return "://" in os.fspath(path)


def _remove_leftovers(folder: epath.Path) -> None:
    for name in os.listdir(folder):
        found = _LEFTOVER.fullmatch(name)
        if found and not _lives(int(found[1])):
            (folder / name).unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _sync_folder(folder: epath.Path) -> None:
    """Has the disk keep the folder's new names too, so that a power cut cannot undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except (
        OSError
    ):  # some network file systems cannot; a file's content was synced above all the same
        pass
    finally:
        os.close(descriptor)


def write_json(path: epath.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    atomic_write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: epath.PathLike) -> Any:
    """The value in a JSON file.

    Raises:
      UserError: it is empty, cut off, not UTF-8 or not JSON; names the file.
    """
    text = _read_text(epath.Path(path))
    if not text.strip():
        raise UserError(f"{path}: the file is empty. {WHAT_TO_DO}")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}). {WHAT_TO_DO}") from error


def _read_text(path: epath.Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 ({error}). {WHAT_TO_DO}") from error


def read_jsonl(path: epath.PathLike) -> list[dict]:
    """The rows of a jsonl file. A last line without its newline was cut off by a kill and is not a row.

    Raises:
      UserError: a line that is no JSON object, or bytes that are no UTF-8; names file and line.
    """
    return list(_rows(epath.Path(path)))


def _rows(path: epath.Path) -> Iterator[dict]:
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: expected an object, got {line:.80}")
        yield row


def _whole_lines(path: epath.Path) -> list[str]:
    """Decoded after the cut, since a kill may cut a character in two."""
    whole, newline, _ = path.read_bytes().rpartition(b"\n")
    try:
        return whole.decode("utf-8").split("\n") if newline else []
    except UnicodeDecodeError as error:
        line = whole[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 ({error}).") from error


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
        self._file = self.path.open("a", encoding="utf-8")

    def _restore(self, keep) -> None:
        rows = [row for row in read_jsonl(self.path) if keep is None or keep(row)]
        text = "".join(_line(row) for row in rows)
        if text.encode() != self.path.read_bytes():
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
