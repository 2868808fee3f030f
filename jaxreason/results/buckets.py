"""Paths on a bucket: the libraries for reading and writing them, messages if these are missing, what epath lacks."""

import datetime
import errno
import importlib.util
import inspect
import os
import re
import time
from typing import Any

import fsspec
from etils import epath

from jaxreason.errors import UserError

# Scheme -> the library with which `etils.epath` opens it, and the extra of this package that installs the library.
BUCKETS = {"gs": ("gcsfs", "gs"), "s3": ("s3fs", "s3")}
_PATTERN = re.compile(r"[*?\[\]]")
# Within this time, another writer's object replaces one of the same name.
SETTLE_SECONDS = 1.0


def check_path(path: epath.PathLike | None) -> None:
    """Refuses a path that could not be opened, before anything else is done.

    Raises:
      UserError: it begins with a scheme that BUCKETS lacks (a path such as `gcs://...` would become a local folder of
        that name), it has a character of patterns, or the library for it is not installed.
    """
    scheme, mark, _ = os.fspath(path or "").partition("://")
    if not mark:
        return
    if scheme not in BUCKETS:
        known = ", ".join(f"{name}://" for name in BUCKETS)
        raise UserError(f"{path}: expected a folder, or a path that begins with {known}.")
    if odd := _PATTERN.search(os.fspath(path or "")):
        raise UserError(
            f"{path}: expected a path without `{odd[0]}`, which the libraries of buckets take for a pattern when they "
            "remove files, so that files of other folders could be lost. Choose another name."
        )
    _keep_no_listings()
    library, extra = BUCKETS[scheme]
    # If tensorflow is installed, epath opens buckets with it.
    if not any(importlib.util.find_spec(name) for name in (library, "tensorflow")):
        raise UserError(
            f"{path}: {scheme}:// is opened with {library}, which is not installed. "
            f"Install it with: pip install 'jaxreason[{extra}]', which the extras tpu and cuda bring too."
        )


def _keep_no_listings() -> None:
    """Turns off fsspec's cache of listings, which does not see the writes of other machines."""
    for name in ("gcs", "s3"):
        fsspec.config.conf.setdefault(name, {}).setdefault("use_listings_cache", False)


def _store(path: epath.Path) -> Any | None:
    """Returns the file system of fsspec with which epath opens the path; None if epath uses another library."""
    backend = getattr(path, "_backend", None)
    return backend.fs(path) if hasattr(backend, "fs") else None


def create_object(path: epath.Path, data: bytes) -> bool:
    """Writes an object if there is none of this name; returns False if there is one.

    The store itself decides if it can (Google's and Amazon's can). If it cannot, the last of two simultaneous writers
    wins: each one looks a moment later whether its own object is there.
    """
    store = _store(path)
    if store is None:
        if path.exists():
            return False
        path.write_bytes(data)
        time.sleep(SETTLE_SECONDS)
    else:
        try:
            store.pipe_file(os.fspath(path), data, mode="create")
        except OSError:  # Amazon's library may raise any error of the system here.
            if not path.exists():
                raise
            # The object may be ours in any case: if an answer was lost, the client's own second try found the first.
    return path.read_bytes() == data


def read_whole(path: epath.Path) -> bytes:
    """Returns the bytes of a file; of an object with one request, where `epath` first asks for its size.

    Raises:
      FileNotFoundError: there is no such file.
    """
    store = _store(path)
    if store is None:
        return path.read_bytes()
    # Without this, s3fs first asks for the size too, to read a large object in pieces.
    known = inspect.signature(store.cat_file).parameters
    options = {"max_concurrency": 1} if "max_concurrency" in known else {}
    try:
        return store.cat_file(os.fspath(path), **options)
    except FileNotFoundError as error:  # s3fs does not name it.
        raise FileNotFoundError(errno.ENOENT, "No such file", os.fspath(path)) from error


def sizes_below(folder: epath.Path) -> dict[str, int] | None:
    """Returns the bytes of every object below a folder, by its name relative to the folder, from one listing.

    None if `epath` opens the folder with a library that cannot list it so.
    """
    store = _store(folder)
    if store is None:
        return None
    start = os.fspath(folder).partition("://")[2] + "/"
    found = store.find(os.fspath(folder), detail=True).items()
    return {name[len(start) :]: about["size"] for name, about in found if name.startswith(start)}


def _info(path: epath.Path) -> dict[str, Any]:
    store = _store(path)
    return {} if store is None else store.info(os.fspath(path))


def time_in_store(path: epath.Path) -> float | None:
    """Returns when an object was written, in seconds by the store's clock; None if the store does not tell.

    Raises:
      FileNotFoundError: there is no such object.
    """
    about = _info(path)
    found = about.get("mtime") or about.get("LastModified")
    return found.timestamp() if isinstance(found, datetime.datetime) else None


def version_in_store(path: epath.Path) -> str:
    """Returns the version of an object, which changes with each write: its ETag, or else its time.

    Raises:
      FileNotFoundError: there is no such object.
    """
    about = _info(path)
    return str(about.get("ETag") or about.get("etag") or path.stat().mtime)
