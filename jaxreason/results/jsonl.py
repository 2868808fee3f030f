"""Files of JSON lines that grow: one file on a disk; on a bucket, which cannot append, a series of objects.

On a bucket a file that is complete is one object, `X.jsonl`. While it grows it is `X.parts/00001.jsonl`,
`X.parts/00002.jsonl`, ... read one after the other. The last part is rewritten with each flush until it is PART_BYTES
large; then the next one begins. So the number of parts depends on the size of the file, not on how often it was
flushed. Every step from one state to the next writes or removes one object, and a reader gets the same lines before and
after it.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import about, atomic_write_bytes, is_remote, remove

PART_BYTES = 4 << 20  # a part of this size is followed by a new one
_PART = re.compile(r"(\d{5,})\.jsonl")
_TRIES = 3  # of a reader that meets a writer just as it goes from parts to one object or back
# On a bucket lines are written at the latest when so many wait, or the first has waited this long.
FLUSH_LINES, FLUSH_SECONDS = 64, 20.0


def parts_folder(path: epath.Path) -> epath.Path:
    """The folder of the parts of a growing file, on a bucket."""
    return path.parent / f"{path.name.removesuffix('.jsonl')}.parts"


def grown_exists(path: epath.PathLike) -> bool:
    """Whether there is such a file, whole or in parts."""
    path = epath.Path(path)
    return path.exists() or (is_remote(path) and bool(_parts(path)))


def read_grown(path: epath.PathLike) -> bytes:
    """All bytes of a file that grows or has grown.

    Raises:
      FileNotFoundError: there is none.
      UserError: a part between two others is missing.
    """
    path = epath.Path(path)
    if not is_remote(path):
        return path.read_bytes()
    for _ in range(_TRIES - 1):
        try:
            return _read_objects(path)
        except FileNotFoundError:  # or what was found was put together, or taken apart, meanwhile
            continue
    return _read_objects(path)


def _read_objects(path: epath.Path) -> bytes:
    if path.exists():
        return path.read_bytes()
    parts = _parts(path)
    if not parts:
        raise FileNotFoundError(2, "No such file", str(path))
    data = b"".join(part.read_bytes() for part in parts)
    # Put together meanwhile, the last parts may have been removed before they were listed.
    return path.read_bytes() if path.exists() else data


def write_grown(path: epath.PathLike, data: bytes) -> None:
    """Writes the whole file as one object or file, in the place of what was there.

    Raises:
      OSError: it cannot be written; the file is then as it was.
    """
    path = epath.Path(path)
    atomic_write_bytes(path, data)
    if is_remote(path):
        _remove_parts(path)


def join_parts(path: epath.PathLike) -> None:
    """Makes one object of a file in parts; where a kill came between the two, only removes the parts."""
    path = epath.Path(path)
    if not is_remote(path):
        return
    if path.exists():
        _remove_parts(path)
    elif _parts(path):
        write_grown(path, read_grown(path))


def _parts(path: epath.Path) -> list[epath.Path]:
    """The parts in order.

    Raises:
      UserError: one between two others is missing.
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
    except (FileNotFoundError, NotADirectoryError):  # a bucket has no empty folders
        return []
    return sorted(found, key=lambda item: int(item.stem))


def _name(number: int) -> str:
    return f"{number:05d}.jsonl"


def _remove_parts(path: epath.Path) -> None:
    """Called where the whole file is there, so that no part counts; the last first, so that none is ever missing."""
    for part in reversed(_listed(path)):
        remove(part)


class PartsWriter:
    """Goes on with a file on a bucket; what `write` takes is there after the next `flush`."""

    def __init__(self, path: epath.Path):
        self._path = path
        if path.exists():
            self._take_apart()
        parts = _parts(path)
        self._number, self._last = max(len(parts), 1), parts[-1].read_bytes() if parts else b""
        self._new: list[bytes] = []

    def _take_apart(self) -> None:
        """Parts beside a whole file are older than it and do not count."""
        _remove_parts(self._path)
        data = self._path.read_bytes()
        if data:
            atomic_write_bytes(parts_folder(self._path) / _name(1), data)
        remove(self._path)

    def write(self, line: bytes) -> None:
        """Takes a line, its newline included."""
        self._new.append(line)

    def flush(self) -> None:
        """Writes the lines taken since the last flush; returns when they are in the bucket.

        Raises:
          OSError: they could not be written; they are still held, for the next flush.
        """
        if not self._new:
            return
        if len(self._last) >= PART_BYTES:
            self._number, self._last = self._number + 1, b""
        data = self._last + b"".join(self._new)
        atomic_write_bytes(parts_folder(self._path) / _name(self._number), data)
        self._last, self._new = data, []


def read_jsonl(path: epath.PathLike) -> list[dict]:
    """The rows of a jsonl file. A last line without its newline was cut off by a kill and is not a row.

    Raises:
      UserError: a line that is no JSON object, or bytes that are no UTF-8; names file and line.
    """
    return parse_jsonl(read_grown(path), str(path))


def iter_jsonl(
    path: epath.PathLike, seen: Callable[[bytes], Any] = lambda _: None
) -> Iterator[dict]:
    """`read_jsonl`, row by row: no more than a line of a file on a disk is held in memory.

    Args:
      path: of the file.
      seen: is called with all of its bytes, piece by piece.

    Raises:
      UserError: as `read_jsonl`.
    """
    path = epath.Path(path)
    if is_remote(path):
        data = read_grown(path)
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
    """`read_jsonl` of bytes already read; `source` names them in messages."""
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
    """Decoded after the cut, since a kill may cut a character in two."""
    whole, newline, _ = data.rpartition(b"\n")
    try:
        return whole.decode("utf-8").split("\n") if newline else []
    except UnicodeDecodeError as error:
        line = whole[: error.start].count(b"\n") + 1
        raise UserError(f"{source}, line {line}: not UTF-8 ({error}).") from error


def write_jsonl(path: epath.PathLike, rows: Sequence[dict]) -> None:
    """Writes all rows of a file, in the place of what was there.

    Raises:
      OSError: it cannot be written; the file is then as it was.
    """
    write_grown(path, jsonl_bytes(rows))


def jsonl_bytes(rows: Iterable[dict]) -> bytes:
    """The whole text of a jsonl file, for one that is written in one piece."""
    return b"".join(map(_line, rows))


class JsonlWriter:
    """Appends rows to a jsonl file; drops a last line that a kill cut off.

    On a disk each row is whole and flushed when `write` returns; on a bucket it is there after the next `flush`.
    The file is rewritten on opening when its last line is incomplete. `keep`, if given, also drops the rows
    for which it is false, as a resumed run does with the rows after the step that it resumes from.
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
        """Append one row."""
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting += 1
        with about(self.path):
            self._file.write(_line(row))
            if not is_remote(self.path):
                self._file.flush()
                self._waiting = 0

    def flush(self) -> None:
        """Returns when all rows are in the file, on a disk also after a power cut."""
        with about(self.path):
            self._file.flush()
            if not is_remote(self.path):
                os.fsync(self._file.fileno())
        self._waiting = 0

    def flush_if_due(self) -> None:
        """`flush`, where FLUSH_LINES rows wait for it, or one has for FLUSH_SECONDS."""
        late = self._waiting and time.monotonic() - self._since >= FLUSH_SECONDS
        if late or self._waiting >= FLUSH_LINES:
            self.flush()

    def close(self) -> None:
        """Writes what waits, and closes the file."""
        self.flush()
        if not is_remote(self.path):
            self._file.close()

    def close_whole(self) -> None:
        """`close`, and on a bucket makes one object of the file's parts."""
        self.close()
        join_parts(self.path)


def _line(row: dict) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()
