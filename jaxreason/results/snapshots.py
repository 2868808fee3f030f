"""The files of a folder, as a reader of many of them asks for them: as they are now, or as one listing found them.

A bucket takes 30 to 100 ms to answer a question. A report would ask it hundreds of times whether a file exists, and
read some files several times. So it asks a `Snapshot`, which knows the names from one listing and keeps small files.
"""

import contextlib
import fnmatch
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from etils import epath

from jaxreason.results.atomic_files import glob_in, is_remote, read_object
from jaxreason.results.buckets import read_whole, sizes_below
from jaxreason.results.jsonl import grown_exists, parts_folder, read_grown

# A larger file takes longer to be sent than to be asked for, so it is read when it is wanted, each time.
KEPT_FILE = 4 << 20
KEPT_BYTES = 256 << 20  # Of all files together.
_THREADS = 16  # So many files are read at a time.


class Files(Protocol):
    """What the readers in `results` ask about the files of a study."""

    def exists(self, path: epath.Path) -> bool:
        """Returns whether there is a file or a folder at this path."""
        ...

    def read(self, path: epath.Path, types: Mapping[str, type]) -> dict[str, Any]:
        """Returns the object in a JSON file, as `read_object` does."""
        ...

    def matching(self, folder: epath.Path, pattern: str) -> list[epath.Path]:
        """Returns the paths in a folder that match a pattern, by name."""
        ...


class _Current:
    """Asks the disk or the bucket each time."""

    def exists(self, path: epath.Path) -> bool:
        return path.exists()

    def read(self, path: epath.Path, types: Mapping[str, type]) -> dict[str, Any]:
        return read_object(path, types)

    def matching(self, folder: epath.Path, pattern: str) -> list[epath.Path]:
        return glob_in(folder, pattern)


CURRENT: Files = _Current()


class Snapshot:
    """The files of a folder. On a bucket they are those of one listing; on a disk every question goes to the disk.

    What is written later is not seen, so a snapshot belongs to one reading of the folder.
    """

    def __init__(self, folder: epath.PathLike):
        self.folder = epath.Path(folder)
        self._sizes = sizes_below(self.folder) if is_remote(folder) else None
        self._inside = _by_folder(self._sizes or ())
        self._kept: dict[str, bytes] = {}
        self._free = KEPT_BYTES

    def exists(self, path: epath.Path) -> bool:
        """Returns whether there is a file or a folder at this path."""
        name = self._name(path)
        if name is None:
            return path.exists()
        folder, _, last = name.rpartition("/")
        return last in self._inside.get(folder, ())

    def grown_exists(self, path: epath.Path) -> bool:
        """Returns whether there is such a file, whole or in parts."""
        if self._name(path) is None:
            return grown_exists(path)
        return self.exists(path) or bool(self.matching(parts_folder(path), "*.jsonl"))

    def matching(self, folder: epath.Path, pattern: str) -> list[epath.Path]:
        """Returns the paths in a folder that match a pattern, by name."""
        name = self._name(folder)
        if name is None:
            return glob_in(folder, pattern)
        found = fnmatch.filter(self._inside.get(name, ()), pattern)
        return [folder / last for last in sorted(found)]

    def read_grown(self, path: epath.Path) -> bytes:
        """Returns all bytes of a file; on a bucket a small one is read once, together with those beside it.

        Raises:
          FileNotFoundError: there is no such file.
        """
        name = self._name(path)
        if name is None:
            return read_grown(path)
        if name not in self._kept:
            self._keep_folder(name.rpartition("/")[0])
        return self._kept[name] if name in self._kept else read_grown(path)

    def _name(self, path: epath.Path) -> str | None:
        """Returns the path relative to the folder; None if the listing does not tell anything about it."""
        if self._sizes is None or not path.is_relative_to(self.folder):
            return None
        name = str(path.relative_to(self.folder))
        return "" if name == "." else name

    def _keep_folder(self, folder: str) -> None:
        """Reads the small files of a folder, several at a time: whoever reads one of them mostly reads them all."""
        assert self._sizes is not None
        names = [f"{folder}/{last}".lstrip("/") for last in sorted(self._inside.get(folder, ()))]
        wanted = []
        for name in names:
            size = self._sizes.get(name, KEPT_FILE + 1)  # a folder has none
            small = size <= min(KEPT_FILE, self._free)
            if small and name.endswith((".json", ".jsonl")) and name not in self._kept:
                wanted.append(name)
                self._free -= size
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(_read_if_there, [self.folder / name for name in wanted])
            kept = zip(wanted, found, strict=True)
            self._kept |= {name: data for name, data in kept if data is not None}


def _read_if_there(path: epath.Path) -> bytes | None:
    # It may have been taken apart since it was listed.
    with contextlib.suppress(FileNotFoundError):
        return read_whole(path)
    return None


def _by_folder(names: Iterable[str]) -> dict[str, set[str]]:
    """Returns the names in each folder, for paths of files relative to the folder above all ("")."""
    found: dict[str, set[str]] = {}
    for name in names:
        while name:
            name, _, last = name.rpartition("/")
            inside = found.setdefault(name, set())
            if last in inside:
                break
            inside.add(last)
    return found
