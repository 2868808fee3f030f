"""Paths on a bucket: what reading and writing them needs, the message where it is missing, and what epath has not."""

import datetime
import importlib.util
import os
import time
from typing import Any

import fsspec
from etils import epath

from jaxreason.errors import UserError

# Scheme -> the library that `etils.epath` opens it with, and the extra of this package that brings it.
BUCKETS = {"gs": ("gcsfs", "gs"), "s3": ("s3fs", "s3")}
SETTLE_SECONDS = 1.0  # within which another writer's object replaces one of the same name


def check_path(path: epath.PathLike | None) -> None:
    """Refuses a path that could not be opened, before anything else is done.

    Raises:
      UserError: it begins with another scheme than those of BUCKETS (a path such as `gcs://...` would become a local
        folder of that name), or the library for it is not installed.
    """
    scheme, mark, _ = os.fspath(path or "").partition("://")
    if not mark:
        return
    if scheme not in BUCKETS:
        known = ", ".join(f"{name}://" for name in BUCKETS)
        raise UserError(f"{path}: expected a folder, or a path that begins with {known}.")
    _keep_no_listings()
    library, extra = BUCKETS[scheme]
    # With tensorflow installed, epath opens buckets with that.
    if not any(importlib.util.find_spec(name) for name in (library, "tensorflow")):
        raise UserError(
            f"{path}: {scheme}:// is opened with {library}, which is not installed. "
            f"Install it with: pip install 'jaxreason[{extra}]', which the extras tpu and cuda bring too."
        )


def _keep_no_listings() -> None:
    """Turns off fsspec's cache of listings, which misses the writes of other machines."""
    for name in ("gcs", "s3"):
        fsspec.config.conf.setdefault(name, {}).setdefault("use_listings_cache", False)


def _store(path: epath.Path) -> Any | None:
    """The file system of fsspec that epath opens the path with; None where that is another library."""
    backend = getattr(path, "_backend", None)
    return backend.fs(path) if hasattr(backend, "fs") else None


def create_object(path: epath.Path, data: bytes) -> bool:
    """Writes an object where there is none; False, if there is one.

    The store itself decides where it can (Google's and Amazon's do). Where it cannot, of two that write at once the
    last one remains: each looks a moment later whether it was that.
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
        except OSError:  # of Amazon's library it is any error of the system
            if not path.exists():
                raise
            # It may be ours all the same: an answer was lost, and the client's own second try found the first.
    return path.read_bytes() == data


def _info(path: epath.Path) -> dict[str, Any]:
    store = _store(path)
    return {} if store is None else store.info(os.fspath(path))


def time_in_store(path: epath.Path) -> float | None:
    """When an object was written, in seconds by the store's clock; None where it is not told.

    Raises:
      FileNotFoundError: there is none.
    """
    about = _info(path)
    found = about.get("mtime") or about.get("LastModified")
    return found.timestamp() if isinstance(found, datetime.datetime) else None


def version_in_store(path: epath.Path) -> str:
    """The version of an object, which changes at each write: its ETag, or else its time.

    Raises:
      FileNotFoundError: there is none.
    """
    about = _info(path)
    return str(about.get("ETag") or about.get("etag") or path.stat().mtime)
