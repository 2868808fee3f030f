"""Allows one living run per working directory, and for a study no run beside it in the folders of its arms."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from typing import IO

from etils import epath

from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import absolute, glob_in, is_remote
from jaxreason.results.lease import Lease, read_newest, wait_until_stale
from jaxreason.results.study_files import BASE, BASES, is_study

_LOG = logging.getLogger(__name__)
LOCK = ".lock"
REPORT_LOCK = ".report.lock"  # Beside the report: one that is refused makes no folder.
_ARMS = ("*/seed_*", BASE, f"{BASES}/*")


@contextlib.contextmanager
def locked(
    workdir: epath.Path, lost: Callable[[str], None] = lambda reason: None
) -> Iterator[None]:
    """Refuses a second run in a working directory while the first one lives; the lock ends with its process.

    A run in the folder of a living study's arm is refused as well, and so is a study if one of its arms has a run of
    its own. On a bucket, which has no locks, a lease is used.

    Args:
      workdir: of the run.
      lost: as for a `Lease`.

    Raises:
      UserError: another run uses the directory; the message says where.
    """
    if is_remote(workdir):
        with _leased(workdir, lost):
            yield
        return
    workdir = absolute(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / LOCK, "a") as file:
        if not _take(file, fcntl.LOCK_EX):
            raise ConfigError(f"{workdir}: another run is using this working directory.")
        # This check comes after our own lock is taken, so that of two runs that start at once at least one sees the
        # other.
        for folder in (*_studies_around(workdir), *_arms_of(workdir)):
            if _is_held(folder / LOCK):
                raise ConfigError(
                    f"{workdir}: another run is using {folder}, which it belongs to or holds. "
                    "Wait for it to end, or use another --workdir."
                )
        yield


@contextlib.contextmanager
def writing(folder: epath.Path, target: epath.Path) -> Iterator[None]:
    """Holds a local folder in which `target` is prepared, against a second program that prepares the same one.

    The lock is a file in the folder, and ends with its process.

    Raises:
      UserError: another program holds it, or has just renamed it to `target`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a") as file:
        if not (_take(file, fcntl.LOCK_EX) and _is_at(file, folder / LOCK)):
            raise UserError(
                f"{target}: another program is writing this folder (in {folder}). Wait for it to end, or choose "
                "another folder."
            )
        yield


@contextlib.contextmanager
def in_turn(lock: epath.Path, work: str) -> Iterator[None]:
    """Holds a lock that several programs take one after the other; waits while another one holds it.

    On a bucket, which has no locks, nothing is waited for.

    Args:
      lock: its file, in a folder that exists.
      work: what is done meanwhile, for the message of one that waits.
    """
    if is_remote(lock):
        yield
        return
    with open(lock, "a") as file:
        if not _take(file, fcntl.LOCK_EX):
            _LOG.warning("%s: another program makes %s; waiting for its end.", lock.parent, work)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_at(file: IO[str], path: epath.Path) -> bool:
    """Returns whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _leased(workdir: epath.Path, lost: Callable[[str], None]) -> Iterator[None]:
    lease = Lease(workdir, lost)
    lease.take()
    try:
        # Checked after our own lease is taken, as on a disk.
        for folder in (*_studies_around(workdir), *_arms_of(workdir)):
            newest = read_newest(folder)
            if newest is not None and newest.is_open():
                wait_until_stale(folder, newest)
        yield
    finally:
        lease.release()


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
    """Returns parent folders that are studies, of `<study>/<arm>/seed_<k>`, `<study>/base` or `<study>/bases/<b>`."""
    above = [workdir.parent, workdir.parent.parent]
    if is_remote(workdir):  # `gs://bucket` is a folder; its parents are not.
        above = [folder for folder in above if len(folder.parts) > 2]
    return [folder for folder in above if folder != workdir and is_study(folder)]


def _arms_of(workdir: epath.Path) -> list[epath.Path]:
    return [folder for pattern in _ARMS for folder in glob_in(workdir, pattern)]
