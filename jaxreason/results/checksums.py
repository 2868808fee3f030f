"""SHA-256 of whole files: a table written beside a checkpoint, and a cache of hashes in the user's cache folder.

The table is written once and compared when the files are read. It may name only files inside of its folder.

The cache saves hashing large files again. A hash counts as long as the file's device, inode, size and both times (of
its bytes and of its entry) are the same; an object in a bucket counts by name, size and ETag. The cache is not beside
the file, since the folder of a model may be read-only or shared. It is `$JAXREASON_CACHE`, else
`$XDG_CACHE_HOME/jaxreason`, else `~/.cache/jaxreason`. It has one small file for each file hashed, replaced whole, so
that several processes may use it at once. Where none can be written, the hash is made again at each start.
"""

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etils import epath

from jaxreason.errors import UserError, check_running
from jaxreason.results.atomic_files import about, is_remote, write_json
from jaxreason.results.buckets import version_in_store
from jaxreason.results.lease import check_held

CHECKSUMS_FILE = "checksums.json"
COMMITTED = "commit_success.txt"  # On a store that cannot rename, Orbax writes this file last.
_CHUNK = 1 << 22  # Bytes in memory at a time, per thread.
_THREADS = 4
_TICK_NS = 20_000_000  # Files get their times from a clock that advances in steps of up to 10 ms.


def hash_file(path: epath.PathLike) -> dict[str, Any]:
    """Returns the size and SHA-256 of a regular file.

    Raises:
      OSError: it cannot be read, or is not a regular file (reading a pipe would never end).
    """
    path, digest, size = epath.Path(path), hashlib.sha256(), 0
    check_regular(path)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def check_regular(path: epath.Path) -> None:
    """Refuses anything but a regular file, before it is opened.

    Raises:
      OSError: a local path does not exist, or is a folder, a pipe or a device.
    """
    if "://" not in os.fspath(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path} is not a regular file")


def hash_files(folder: epath.Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Hashes the file of every name as `hash_file` does, a few at a time.

    Raises:
      OSError: as `hash_file`.
    """
    names = sorted(names)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(names, pool.map(lambda name: hash_file(folder / name), names), strict=True))


def files_in(folder: epath.Path) -> list[str]:
    """Returns the names, relative to `folder`, of the files in it and in its subfolders."""
    found = []
    for item in sorted(folder.iterdir()):
        inner = [f"{item.name}/{name}" for name in files_in(item)] if item.is_dir() else [item.name]
        found += inner
    return found


def write_checksums(path: epath.Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes a table of `hash_files`, and its own hash, to a new file that nobody reads yet.

    Raises:
      LeaseError: on a bucket, if another run has taken over the directory that this one held.
    """
    value = {"format": 1, "files": files, "sha256": _hash_table(files)}
    check_held()
    with about(path):
        # No newline at the end, so that a cut file is broken JSON.
        path.write_text(json.dumps(value, indent=1))


def _hash_table(files: Mapping[str, Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def read_checksums(path: epath.Path) -> dict[str, dict[str, Any]]:
    """Returns the table in a file.

    Raises:
      UserError: the file is not one that `write_checksums` wrote.
      OSError: it cannot be read.
    """
    try:
        check_regular(path)
        value = json.loads(path.read_bytes())
        files = dict(value["files"])
        good = value["format"] == 1 and value["sha256"] == _hash_table(files)
        good = good and all(map(_is_entry, files, files.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no table of checksums ({type(error).__name__}).") from error
    if not good:
        raise UserError(f"{path} holds other bytes than were written.")
    return files


def _is_entry(name: str, entry: Any) -> bool:
    inside = not name.startswith("/") and ".." not in name.split("/")
    return inside and {"bytes", "sha256"} <= set(entry)


def find_changed_files(
    folder: epath.Path, files: Mapping[str, Mapping[str, Any]], names: Iterable[str]
) -> list[str]:
    """Returns one sentence for each of `names` whose file is not the one that `files` describes."""
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda name: _damage(folder / name, name, files[name]), sorted(names))
        return [sentence for sentence in found if sentence]


def _damage(path: epath.Path, name: str, wanted: Mapping[str, Any]) -> str | None:
    try:
        found = hash_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error})"
    if found["bytes"] != wanted["bytes"]:
        return f"{name} has {found['bytes']} bytes, {wanted['bytes']} were written"
    if found["sha256"] != wanted["sha256"]:
        return f"{name} holds other bytes than were written"
    return None


def user_cache() -> str | None:
    """Returns the program's folder in the user's cache; None for a user without a home, as containers may have."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if base.startswith("~") else f"{base}/jaxreason"


def hash_cache_folder() -> epath.Path | None:
    """Returns the folder of the cache of hashes; None if there is no place for it."""
    own = os.environ.get("JAXREASON_CACHE")
    base = os.path.expanduser(own) if own else user_cache()
    return None if base is None else epath.Path(base) / "hashes"


def hash_all_once(folder: epath.Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Hashes the file of every name as `hash_once` does, a few at a time.

    Raises:
      OSError: as `hash_once`.
    """

    def hash_one(name: str) -> dict[str, Any]:
        check_running("hashing")
        return hash_once(folder / name)

    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(names, pool.map(hash_one, names), strict=True))


def hash_once(path: epath.PathLike) -> dict[str, Any]:
    """Returns what `hash_file` returns, from the cache if the file has not changed since it was last hashed.

    Raises:
      OSError: the file cannot be read, or is not a regular file.
    """
    path = epath.Path(path)
    check_regular(path)
    stamp, folder = _stamp(path), hash_cache_folder()
    if folder is None:
        return hash_file(path)
    name = hashlib.sha256(json.dumps(stamp[:2]).encode()).hexdigest()
    entry = folder / f"{name[:32]}.json"
    known = _read_entry(entry)
    if known.get("stamp") == stamp and {"bytes", "sha256"} <= set(known):
        return {"bytes": known["bytes"], "sha256": known["sha256"]}
    return _hash_and_keep(path, entry)


def _hash_and_keep(path: epath.Path, entry: epath.Path) -> dict[str, Any]:
    """Hashes a file and stores the hash. It waits until a later write would get a different file time."""
    stamp = _stamp(path)
    if not is_remote(path) and time.time_ns() - max(stamp[-2:]) < _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
    found = hash_file(path)
    if _stamp(path) == stamp:
        # If the cache cannot be written here, the next start hashes again.
        with contextlib.suppress(OSError):
            write_json(entry, {"path": os.fspath(path), "stamp": stamp, **found})
    return found


def _stamp(path: epath.Path) -> list[int | str]:
    """Returns a stamp: its first two numbers change with the file, the others with the bytes in it."""
    if is_remote(path):  # An object is written whole, and has no inode.
        return [os.fspath(path), "", path.stat().length, version_in_store(path)]
    found = os.stat(path)
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read_entry(entry: epath.Path) -> dict[str, Any]:
    try:
        value = json.loads(entry.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
