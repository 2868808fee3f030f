"""Lines of JSON: the one reader and the one writer of files that grow by a line at a time."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import about, is_remote
from jaxreason.results.growing_files import (
    PartsWriter,
    grown_exists,
    join_parts,
    read_grown,
    write_grown,
)

# On a bucket lines are written at the latest when so many wait, or the first has waited this long.
FLUSH_LINES, FLUSH_SECONDS = 64, 20.0


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
