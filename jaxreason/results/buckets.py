"""Paths on a bucket: what reading and writing them needs, and the message where it is missing."""

import importlib.util
import os

from etils import epath

from jaxreason.errors import UserError

# Scheme -> the library that `etils.epath` opens it with, and the extra of this package that brings it.
BUCKETS = {"gs": ("gcsfs", "gs"), "s3": ("s3fs", "s3")}


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
    library, extra = BUCKETS[scheme]
    # With tensorflow installed, epath opens buckets with that.
    if not any(importlib.util.find_spec(name) for name in (library, "tensorflow")):
        also = ", which the extras tpu and cuda bring too" if extra == "gs" else ""
        raise UserError(
            f"{path}: {scheme}:// is opened with {library}, which is not installed. "
            f"Install it with: pip install 'jaxreason[{extra}]'{also}."
        )
