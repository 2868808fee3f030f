"""Files that grow line by line: one file on a disk; on a bucket, which cannot append, whole objects in a row.

On a bucket `X.jsonl` is the whole file where it is there, as it is once a run has closed it. Where it is not, the file
is `X.parts/00001.jsonl`, `X.parts/00002.jsonl`, ... one after the other. The last of them is written anew with the
lines that came since, until it is so large that the next one begins, so their number follows from the file's size and
not from how often it was written. Every step between these states is the writing or the removal of one object, and
what is read is the same before and after it.
"""

import re

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import atomic_write_bytes, is_remote, remove

PART_BYTES = 4 << 20  # a part of this size is followed by a new one
_PART = re.compile(r"(\d{5,})\.jsonl")
_TRIES = 3  # of a reader that meets a writer just as it goes from parts to one object or back


def parts_folder(path: epath.Path) -> epath.Path:
    """Where the parts of a growing file are, on a bucket."""
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
