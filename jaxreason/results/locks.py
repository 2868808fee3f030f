"""One living run in a working directory, and in a study none beside it in the folders of its arms."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from etils import epath

from jaxreason.config import ConfigError
from jaxreason.results.files import absolute
from jaxreason.results.study_files import BASE, BASES, is_study

LOCK = ".lock"
_ARMS = ("*/seed_*", BASE, f"{BASES}/*")


@contextlib.contextmanager
def locked(workdir: epath.Path) -> Iterator[None]:
    """Refuses a second run in a working directory while the first lives; the lock ends with its process.

    A run in the folder of a living study's arm is refused as well, and a study one of whose arms has a run of its own.
    Buckets have no such lock: there, nothing is checked.

    Raises:
      ConfigError: another run uses the directory; says where.
    """
    if "://" in os.fspath(workdir):
        yield
        return
    workdir = absolute(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / LOCK, "a") as file:
        if not _take(file, fcntl.LOCK_EX):
            raise ConfigError(f"{workdir}: another run is using this working directory.")
        # Looked for with our own lock held, so that of two that start at once one sees the other.
        for folder in (*_studies_around(workdir), *_arms_of(workdir)):
            if _is_held(folder / LOCK):
                raise ConfigError(
                    f"{workdir}: another run is using {folder}, which it belongs to or holds. "
                    "Wait for it to end, or use another --workdir."
                )
        yield


def _take(file, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: epath.Path) -> bool:
    if not path.exists():
        return False
    with open(path) as file:
        return not _take(file, fcntl.LOCK_SH)


def _studies_around(workdir: epath.Path) -> list[epath.Path]:
    """Folders above that are studies: `<study>/<arm>/seed_<k>`, `<study>/base` and `<study>/bases/<b>` lie in one."""
    above = [workdir.parent, workdir.parent.parent]
    return [folder for folder in above if folder != workdir and is_study(folder)]


def _arms_of(workdir: epath.Path) -> list[epath.Path]:
    return [folder for pattern in _ARMS for folder in workdir.glob(pattern)]
