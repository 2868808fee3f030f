"""Trees of arrays as Orbax writes and reads them, with checksums. `checkpoint` imports this at its first use of Orbax.

Each process hashes the files that it has written, as the last part of writing them, and process 0 adds the rest.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from jaxreason import amazon_checkpoints
from jaxreason.results.atomic_files import glob_in
from jaxreason.results.checksums import (
    CHECKSUMS_FILE,
    COMMITTED,
    files_in,
    hash_files,
    read_checksums,
    write_checksums,
)

# Orbax writes these last; restoring reads neither.
_UNREAD = (COMMITTED, "_CHECKPOINT_METADATA")
_PART = CHECKSUMS_FILE + ".{}"  # The checksums of the files of one process.
_TIMEOUT_S = 3600  # For writing and hashing one checkpoint.


def prepare(folder: epath.Path) -> None:
    """Lets Orbax write to and read from a folder that is on `s3://`.

    Raises:
      UserError: this version of Orbax cannot.
    """
    if str(folder).startswith(amazon_checkpoints.SCHEME):
        amazon_checkpoints.teach_orbax()


class TreeWriter:
    """Writes one tree after the other, each in the background."""

    def __init__(self):
        options = ocp.options.AsyncOptions(timeout_secs=_TIMEOUT_S)
        self._orbax = ocp.AsyncCheckpointer(_HashedTree(), async_options=options)

    def save(self, path: epath.Path, table: dict[str, jax.Array]) -> None:
        """Starts writing the arrays of a flat table."""
        self._orbax.save(path, args=_SaveHashed(table), force=True)

    def wait(self) -> None:
        """Returns when all is written; raises errors of writing."""
        self._orbax.wait_until_finished()

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._orbax.close()


def read_tree(path: epath.Path, wanted: dict[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """Reads arrays of a checkpoint by their names, on the wanted devices and in the wanted dtypes."""
    return ocp.PyTreeCheckpointHandler().restore(
        path,
        args=ocp.args.PyTreeRestore(
            item=wanted,
            restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
            partial_restore=True,
        ),
    )


def stored_shapes(path: epath.Path) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the arrays of a checkpoint by their names."""
    stored = ocp.PyTreeCheckpointHandler().metadata(path)
    return {name: tuple(array.shape) for name, array in stored.items()}


class _HashedTree(ocp.PyTreeCheckpointHandler):
    """Orbax's handler for trees; it also writes the checksums that `_fault` reads."""

    async def async_save(self, directory: Any, *args: Any, **settings: Any) -> list[Any]:
        futures = await super().async_save(directory, *args, **settings) or []
        return [*futures, _HashOwnFiles(directory)]

    def finalize(self, directory: epath.Path) -> None:
        super().finalize(_NamedFolder(directory))
        # On process 0, when all arrays are written: joins the checksums that each process has made of its own files.
        files: dict[str, Any] = {}
        for process in range(jax.process_count()):
            part = directory / _PART.format(process)
            files |= read_checksums(part)
            part.unlink()
        rest = [name for name in files_in(directory) if name not in files and name not in _UNREAD]
        write_checksums(directory / CHECKSUMS_FILE, files | hash_files(directory, rest))


class _NamedFolder(type(epath.Path())):
    """A folder in which Orbax finds its files though the path has brackets or stars, which it reads as a pattern."""

    def glob(self, pattern: str) -> Iterator[epath.Path]:
        return iter(glob_in(self, pattern))


@ocp.args.register_with_handler(_HashedTree, for_save=True, for_restore=True)
@dataclasses.dataclass
class _SaveHashed(ocp.args.PyTreeSave):
    """Orbax finds the handler by the class of the arguments."""


class _HashOwnFiles:
    """A part of saving that runs after this process's arrays are written and before all processes meet."""

    def __init__(self, directory: Any):
        self._directory = directory

    def result(self, timeout: float | None = None) -> None:
        """Writes the checksums of this process's files."""
        directory = epath.Path(getattr(self._directory, "path", self._directory))
        own = directory / f"ocdbt.process_{jax.process_index()}"
        names = [f"{own.name}/{name}" for name in files_in(own)] if own.is_dir() else []
        part = directory / _PART.format(jax.process_index())
        write_checksums(part, hash_files(directory, names))

    def cancel(self) -> None:
        """Orbax's futures can be cancelled; this one has nothing to stop."""
