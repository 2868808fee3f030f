"""Growing files of JSON lines: one file on a disk; on a bucket, which cannot append, a series of objects.

On a bucket a complete file is one object, `X.jsonl`. While it grows it is `X.parts/00001.jsonl`, `X.parts/00002.jsonl`,
..., to be read one after the other. The last part is rewritten with each flush until it has PART_BYTES; then the next
one begins. So the number of parts depends on the size of the file, and not on the number of flushes. Every step from
one state to the next writes or removes one object, and a reader gets the same lines before and after it.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import about, atomic_write_bytes, is_remote, remove
from jaxreason.results.buckets import read_whole

PART_BYTES = 4 << 20  # After a part of this size, a new one begins.
_PART = re.compile(r"(\d{5,})\.jsonl")
# Tries of a reader, which may meet a writer that is just joining the parts or taking the object apart.
_TRIES = 3
# On a bucket, lines are written when this many wait, or when the first one has waited this long.
FLUSH_LINES, FLUSH_SECONDS = 64, 20.0


def parts_folder(path: epath.Path) -> epath.Path:
    """Returns the folder of the parts of a growing file, on a bucket."""
    return path.parent / f"{path.name.removesuffix('.jsonl')}.parts"


def grown_exists(path: epath.PathLike) -> bool:
    """Returns whether such a file exists, whole or in parts."""
    path = epath.Path(path)
    return path.exists() or (is_remote(path) and bool(_parts(path)))


def read_grown(path: epath.PathLike) -> bytes:
    """Returns all bytes of a file that grows or has grown.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: a part between two others is missing.
    """
    path = epath.Path(path)
    if not is_remote(path):
        return path.read_bytes()
    for _ in range(_TRIES - 1):
        try:
            return _read_objects(path)
        except FileNotFoundError:  # Or the file was joined, or taken apart, meanwhile.
            continue
    return _read_objects(path)


def _read_objects(path: epath.Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return read_whole(path)
    parts = _parts(path)
    if not parts:
        raise FileNotFoundError(2, "No such file", str(path))
    data = b"".join(map(read_whole, parts))
    # If the file was joined meanwhile, its last parts may have been removed before they were listed.
    with contextlib.suppress(FileNotFoundError):
        return read_whole(path)
    return data


def write_grown(path: epath.PathLike, data: bytes) -> None:
    """Writes the whole file as one object or file, and replaces what was there.

    Raises:
      OSError: it cannot be written; the file is then unchanged.
    """
    path = epath.Path(path)
    atomic_write_bytes(path, data)
    if is_remote(path):
        _remove_parts(path)


def join_parts(path: epath.PathLike) -> None:
    """Joins a file's parts into one object; if a kill came before the parts were removed, only removes them."""
    path = epath.Path(path)
    if not is_remote(path):
        return
    if path.exists():
        _remove_parts(path)
    elif _parts(path):
        write_grown(path, read_grown(path))


def _parts(path: epath.Path) -> list[epath.Path]:
    """Returns the parts in order.

    Raises:
      UserError: a part between two others is missing.
    """
    found = _listed(path)
    for number, item in enumerate(found, start=1):
        if int(item.stem) != number:
            raise UserError(
                f"{item.parent}: expected {_name(number)}, found {item.name}: a part of {path.name} is "
                "missing. Put it back, or remove the folder to have it made again."
            )
    return found


def _listed(path: epath.Path) -> list[epath.Path]:
    try:
        found = [item for item in parts_folder(path).iterdir() if _PART.fullmatch(item.name)]
    except (FileNotFoundError, NotADirectoryError):  # On a bucket there are no empty folders.
        return []
    return sorted(found, key=lambda item: int(item.stem))


def _name(number: int) -> str:
    return f"{number:05d}.jsonl"


def _remove_parts(path: epath.Path) -> None:
    """Removes the parts of a file that exists as a whole, the last one first, so that no gap ever appears."""
    for part in reversed(_listed(path)):
        remove(part)


class PartsWriter:
    """Continues a file on a bucket; lines passed to `write` are there after the next `flush`."""

    def __init__(self, path: epath.Path):
        self._path = path
        if path.exists():
            self._take_apart()
        parts = _parts(path)
        self._number, self._last = max(len(parts), 1), read_whole(parts[-1]) if parts else b""
        self._new: list[bytes] = []

    def _take_apart(self) -> None:
        """Turns a whole file into parts again. Parts that lie beside a whole file are older and are ignored."""
        _remove_parts(self._path)
        data = read_whole(self._path)
        if data:
            atomic_write_bytes(parts_folder(self._path) / _name(1), data)
        remove(self._path)

    def write(self, line: bytes) -> None:
        """Takes a line, including its newline."""
        self._new.append(line)

    def flush(self) -> None:
        """Writes the lines taken since the last flush; returns when they are in the bucket.

        Raises:
          OSError: they could not be written; they are kept for the next flush.
        """
        if not self._new:
            return
        if len(self._last) >= PART_BYTES:
            self._number, self._last = self._number + 1, b""
        data = self._last + b"".join(self._new)
        atomic_write_bytes(parts_folder(self._path) / _name(self._number), data)
        self._last, self._new = data, []


def read_jsonl(path: epath.PathLike) -> list[dict]:
    """Returns the rows of a jsonl file. A last line without a newline was cut off by a kill and is not a row.

    Raises:
      UserError: a line is not a JSON object, or bytes are not UTF-8; the message has file and line.
    """
    return parse_jsonl(read_grown(path), str(path))


def iter_jsonl(
    path: epath.PathLike,
    seen: Callable[[bytes], Any] = lambda _: None,
    read: Callable[[epath.Path], bytes] = read_grown,
) -> Iterator[dict]:
    """Does what `read_jsonl` does, row by row: only one line of a file on a disk is in memory at a time.

    Args:
      path: of the file.
      seen: called with all bytes of the file, piece by piece.
      read: returns all bytes of a file on a bucket.

    Raises:
      UserError: as `read_jsonl`.
    """
    path = epath.Path(path)
    if is_remote(path):
        data = read(path)
        seen(data)
        yield from parse_jsonl(data, str(path))
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            seen(line)
            if line.endswith(b"\n"):
                line = line[:-1]
                yield _row(_decoded(line, path, number), f"{path}, line {number}")


def _decoded(line: bytes, path: epath.Path, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {number}: not UTF-8 ({error}).") from error


def parse_jsonl(data: bytes, source: str) -> list[dict]:
    """Does what `read_jsonl` does, for bytes already read; `source` names them in messages."""
    return list(_rows(data, source))


def _rows(data: bytes, source: str) -> Iterator[dict]:
    for number, line in enumerate(_whole_lines(data, source), start=1):
        yield _row(line, f"{source}, line {number}")


def _row(line: str, where: str) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object, got {line:.80}")
    return row


def _whole_lines(data: bytes, source: str) -> list[str]:
    """Returns the complete lines. They are decoded after the cut, since a kill may cut a character in two."""
    whole, newline, _ = data.rpartition(b"\n")
    try:
        return whole.decode("utf-8").split("\n") if newline else []
    except UnicodeDecodeError as error:
        line = whole[: error.start].count(b"\n") + 1
        raise UserError(f"{source}, line {line}: not UTF-8 ({error}).") from error


def write_jsonl(path: epath.PathLike, rows: Sequence[dict]) -> None:
    """Writes all rows of a file, and replaces what was there.

    Raises:
      OSError: it cannot be written; the file is then unchanged.
    """
    write_grown(path, jsonl_bytes(rows))


def jsonl_bytes(rows: Iterable[dict]) -> bytes:
    """Returns the whole text of a jsonl file, for a file that is written in one piece."""
    return b"".join(map(_line, rows))


class JsonlWriter:
    """Appends rows to a jsonl file; drops a last line that a kill has cut off.

    On a disk each row is complete and flushed when `write` returns; on a bucket it is there after the next `flush`. If
    the last line is incomplete, the file is rewritten on opening. `keep`, if given, also drops the rows for which it is
    false; a resumed run thus drops the rows after the step that it resumes from.
    """

    def __init__(self, path: epath.PathLike, keep: Callable[[dict], bool] | None = None):
        self.path = epath.Path(path)
        if grown_exists(self.path):
            self._restore(keep)
        self._waiting, self._since = 0, 0.0
        if is_remote(self.path):
            self._file = PartsWriter(self.path)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")

    def _restore(self, keep: Callable[[dict], bool] | None) -> None:
        data = read_grown(self.path)
        rows = parse_jsonl(data, str(self.path))
        text = b"".join(_line(row) for row in rows if keep is None or keep(row))
        if text != data:
            write_grown(self.path, text)

    def write(self, row: dict) -> None:
        """Appends one row."""
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting += 1
        with about(self.path):
            self._file.write(_line(row))
            if not is_remote(self.path):
                self._file.flush()
                self._waiting = 0

    def flush(self) -> None:
        """Returns when all rows are in the file; on a disk, they then also survive a power cut."""
        with about(self.path):
            self._file.flush()
            if not is_remote(self.path):
                os.fsync(self._file.fileno())
        self._waiting = 0

    def flush_if_due(self) -> None:
        """Calls `flush` if FLUSH_LINES rows wait for it, or if one has waited for FLUSH_SECONDS."""
        late = self._waiting and time.monotonic() - self._since >= FLUSH_SECONDS
        if late or self._waiting >= FLUSH_LINES:
            self.flush()

    def close(self) -> None:
        """Writes the waiting rows and closes the file."""
        self.flush()
        if not is_remote(self.path):
            self._file.close()

    def close_whole(self) -> None:
        """Calls `close`, and on a bucket joins the file's parts into one object."""
        self.close()
        join_parts(self.path)


def _line(row: dict) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()
