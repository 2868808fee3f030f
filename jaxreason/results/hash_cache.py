"""Hashes of large files that were made once, kept in the user's cache folder.

A file's hash counts as long as its device, inode, size and both times (of its bytes and of its
entry) are the same; an object in a bucket counts by name, size and ETag. The cache is not beside
the file: who reads a model changes nothing in its folder, which may be read-only or shared. It is
`$JAXREASON_CACHE`, else `$XDG_CACHE_HOME/jaxreason`, else `~/.cache/jaxreason`. One small file for
each file hashed, replaced whole, so several processes may do this at the same time; where none can
be written, the hash is made again at each start.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etils import epath

from jaxreason.results.buckets import version_in_store
from jaxreason.results.checksums import check_regular, hash_file
from jaxreason.results.files import is_remote, write_json

_THREADS = 4
_TICK_NS = 20_000_000  # files get their times from a clock that moves in steps of up to 10 ms


def cache_folder() -> epath.Path:
    """Where the hashes are kept."""
    own = os.environ.get("JAXREASON_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return epath.Path(os.path.expanduser(own or f"{base}/jaxreason")) / "hashes"


def hash_all_once(folder: epath.Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`hash_once` of every name, a few at a time.

    Raises:
      OSError: as `hash_once`.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(names, pool.map(lambda name: hash_once(folder / name), names), strict=True))


def hash_once(path: epath.PathLike) -> dict[str, Any]:
    """`hash_file`, or what it gave when the file was last hashed if the file is still that one.

    Raises:
      OSError: the file cannot be read, or is no regular file.
    """
    path = epath.Path(path)
    check_regular(path)
    stamp = _stamp(path)
    name = hashlib.sha256(json.dumps(stamp[:2]).encode()).hexdigest()
    entry = cache_folder() / f"{name[:32]}.json"
    known = _read(entry)
    if known.get("stamp") == stamp and {"bytes", "sha256"} <= set(known):
        return {"bytes": known["bytes"], "sha256": known["sha256"]}
    return _hash_and_keep(path, entry)


def _hash_and_keep(path: epath.Path, entry: epath.Path) -> dict[str, Any]:
    """A write after the hash must give the file another time, so one just written is waited for."""
    stamp = _stamp(path)
    if not is_remote(path) and time.time_ns() - max(stamp[-2:]) < _TICK_NS:
        time.sleep(_TICK_NS / 1e9)
    found = hash_file(path)
    if _stamp(path) == stamp:
        with contextlib.suppress(OSError):  # no cache here: the next start hashes again
            write_json(entry, {"path": os.fspath(path), "stamp": stamp, **found})
    return found


def _stamp(path: epath.Path) -> list[int | str]:
    """What is another for another file (the first two) and for other bytes in it (the rest)."""
    if is_remote(path):  # an object is written whole, and has no inode
        return [os.fspath(path), "", path.stat().length, version_in_store(path)]
    found = os.stat(path)
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read(entry: epath.Path) -> dict[str, Any]:
    try:
        value = json.loads(entry.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
