"""Checkpoints of any tree of arrays through Orbax: asynchronous, sharded, verified, written by many processes.

A checkpoint stores a flat table from an array's path in the tree to the array. So it can be restored onto another mesh,
in part, and from any containers (such as Optax's states).

Each process hashes the files that it has written, in the background, as the last part of writing them. Process 0 adds
the rest and writes `checksums.json` before Orbax gives the checkpoint its name. So a checkpoint with a name always has
checksums, and an older one is removed only when the new one has both.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import absolute, is_remote
from jaxreason.results.checksums import (
    CHECKSUMS_FILE,
    COMMITTED,
    find_changed_files,
    read_checksums,
)
from jaxreason.results.lease import check_held
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sharding import gather_texts, leaves_by_path

_LOG = logging.getLogger(__name__)
_HALF_WRITTEN = ".orbax-checkpoint-tmp"  # In the name of a checkpoint that Orbax has not finished.
_STEP = re.compile("0|[1-9][0-9]{0,17}")


class Checkpointer:
    """The checkpoints `<folder>/<step>/` of one run. Every process calls every method.

    A checkpoint gets its name when it is complete. What a kill left behind has another name; it is never read, and it
    is removed when the folder is next opened for writing.

    Args:
      folder: made if it does not exist.
      keep: how many of the newest are kept, 0 = all. None opens for reading only: nothing in the folder is changed, so
        a run may be writing to it.

    Raises:
      UserError: `keep` is negative, or there is no folder to read.
    """

    def __init__(self, folder: epath.PathLike, keep: int | None):
        self._folder = absolute(folder)
        if is_remote(self._folder):
            _trees().prepare(self._folder)
        if keep is not None and keep < 0:
            raise UserError(
                f"keep={keep}: expected the number of checkpoints to keep, or 0 for all."
            )
        self._keep, self._verified = keep, set()
        self._pinned: list[int | None] = [None]  # Until the last one is complete, the one before.
        self._steps: list[int] = _on_first(self._open)
        self._orbax, self._writing = None, False
        if keep is not None:
            logging.getLogger("absl").addFilter(_raised_again)
            self._orbax = _trees().TreeWriter()

    def _open(self) -> list[int]:
        if self._keep is None and not self._folder.is_dir():
            raise UserError(f"{self._folder}: no such folder of checkpoints.")
        if self._keep is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Orbax writes under another name and renames at the end, so a folder with such a name was never finished.
            for path in _entries(self._folder):
                if _HALF_WRITTEN in path.name and path.is_dir():
                    path.rmtree()
        return self._list()

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def save(self, step: int, tree: Any) -> None:
        """Starts writing `tree`, which may be donated at once; an existing step is not written again."""
        if step in self._steps:
            return
        self.wait()
        path = self._folder / str(step)
        # A process that has lost the lease of the folder must not write: another run may have
        # continued from an older step.
        check_held()
        self._orbax.save(path, leaves_by_path(tree))
        self._steps.append(step)
        self._writing = True

    def pin(self, step: int | None) -> None:
        """Keeps the checkpoint of this step from now on, however old it gets.

        The one pinned before is released once this one is complete: a kill may come before.
        """
        if step != self._pinned[-1]:
            self._pinned = [*self._pinned, step]

    def steps(self) -> list[int]:
        """Returns the finished checkpoints, oldest first. Their files are not verified."""
        self.wait()
        return _on_first(
            lambda: sorted(s for s in self._list() if _finished(self._folder / str(s)))
        )

    def fault(self, step: int) -> str | None:
        """Returns why a checkpoint cannot be read, after checking all its files; None if it can."""
        self.wait()
        fault = self._fault(step)
        return fault if fault != "" else "not there"

    def identity(self, step: int) -> str:
        """Returns a hash of a checkpoint's content, from its checksums alone.

        Raises:
          UserError: it does not exist, or its checksums cannot be read.
        """
        path = self._folder / str(step) / CHECKSUMS_FILE
        return _on_first(
            lambda: hashlib.sha256(
                json.dumps(read_checksums(path), sort_keys=True).encode()
            ).hexdigest()
        )

    def latest_step(self) -> int | None:
        """Returns the newest checkpoint whose files are intact, or None if there are no checkpoints.

        All processes together read all files. A damaged checkpoint is named in a warning and the one before it is
        taken. If the folder is open for writing, the damaged one is also moved to `<step>.damaged` (on a bucket, which
        cannot rename, it is removed).

        Raises:
          UserError: there are checkpoints but all are damaged; names the files.
        """
        self.wait()
        damaged: dict[int, str] = {}
        while (step := _on_first(lambda: self._newest_beside(damaged))) is not None:
            fault = self._fault(step)
            if fault is None:
                self._set_aside(damaged, f"continuing with {self._folder / str(step)}")
                return step
            damaged[step] = fault
        damaged = self._still_there(damaged)
        if any(damaged.values()):
            lines = "; ".join(f"{step}: {fault}" for step, fault in damaged.items() if fault)
            raise UserError(
                f"{self._folder}: no checkpoint is whole: {lines}. Put back a copy of one, or use "
                "another working directory."
            )
        self._set_aside(damaged, "nothing to continue")
        return None

    def _list(self) -> list[int]:
        """Returns the steps whose folders have a step's name, newest first; their content is not checked."""
        names = [path.name for path in _entries(self._folder) if path.is_dir()]
        return sorted((int(name) for name in names if _STEP.fullmatch(name)), reverse=True)

    def _still_there(self, damaged: dict[int, str]) -> dict[int, str]:
        """Returns the damaged checkpoints without those that a writer has removed meanwhile; these were not damaged."""
        return {step: damaged[step] for step in _on_first(self._list) if step in damaged}

    def _newest_beside(self, tried: dict[int, str]) -> int | None:
        return next((step for step in self._list() if step not in tried), None)

    def _fault(self, step: int) -> str | None:
        """Describes what is wrong with a checkpoint, the same on all processes; "" if it was never finished."""
        if step in self._verified:
            return None
        path = self._folder / str(step)
        fault = _on_first(lambda: _unreadable(path))
        if fault is not None:
            return fault
        faults = [text for text in gather_texts(_share_of_damage(path)) if text]
        if faults:
            return "; ".join(faults)
        self._verified.add(step)
        return None

    def _set_aside(self, damaged: dict[int, str], then: str) -> None:
        damaged = self._still_there(damaged)
        for step, fault in damaged.items():
            what = f"is damaged ({fault})" if fault else "was never finished"
            _LOG.warning("%s %s; %s.", self._folder / str(step), what, then)
        if self._keep is not None and damaged:
            _on_first(lambda: [_move_away(self._folder / str(step)) for step in damaged] and None)
            self._steps = [step for step in self._steps if step not in damaged]

    def restore(self, step: int, abstract: Any) -> Any:
        """Reads the arrays of a checkpoint; each goes where `abstract` says.

        Args:
          step: step of a complete checkpoint; it is verified unless `latest_step` has done so.
          abstract: a tree of ShapeDtypeStruct with shardings, on any mesh. It may be a part of what was saved
            (`{"params": ...}`); dtypes are converted.

        Raises:
          UserError: a file has changed since it was written; or an array was not saved, or saved with another shape.
        """
        self.wait()
        path = self._folder / str(step)
        fault = self._fault(step)
        if fault is not None:
            raise UserError(f"{path}: {fault or 'never finished'}.")
        wanted = leaves_by_path(abstract)
        _compare(path, wanted)
        found = _trees().read_tree(path, wanted)
        leaves = [found[name] for name in wanted]
        return jax.tree.unflatten(jax.tree.structure(abstract), leaves)

    def restore_params(self, step: int, abstract: Any) -> Any:
        """Reads the model's parameters of a training state, without its optimizer; see `restore`."""
        return self.restore(step, {"params": abstract})["params"]

    def wait(self) -> None:
        """Returns when everything saved is complete on disk; raises errors of writing."""
        if not self._writing:
            return
        self._orbax.wait()
        self._writing = False
        if self._keep:  # Only now there is a new one; until then an older one may be needed.
            if self._pinned[-1] in self._steps:
                self._pinned = self._pinned[-1:]
            old = [step for step in sorted(self._steps)[: -self._keep] if step not in self._pinned]
            self._steps = [step for step in self._steps if step not in old]
            if jax.process_index() == 0:
                for step in old:
                    _remove(self._folder / str(step))

    def close(self) -> None:
        """Waits for writing and ends Orbax's threads."""
        self.wait()
        if self._orbax is not None:
            self._orbax.close()


def _trees() -> ModuleType:
    """The module that uses Orbax, imported at the first checkpoint: it takes half as long as JAX."""
    from jaxreason import checkpoint_trees

    return checkpoint_trees


def _raised_again(record: logging.LogRecord) -> bool:
    """Whether to show a message. The traceback of Orbax's thread is hidden, since `wait` raises
    its error in the main one.
    """
    return not (record.exc_info and "orbax" in record.pathname)


def _finished(path: epath.Path) -> bool:
    return _unreadable(path) != ""


def _unreadable(path: epath.Path) -> str | None:
    """Returns why a checkpoint's checksums cannot be compared; "" if it was never finished, None if they can."""
    try:
        read_checksums(path / CHECKSUMS_FILE)
    except UserError as error:
        return str(error).removeprefix(f"{path}/").rstrip(".")
    except OSError:
        in_place = is_remote(path)
        begun = (path / COMMITTED).exists() if in_place else path.is_dir() and any(path.iterdir())
        return f"{CHECKSUMS_FILE} is missing" if begun else ""
    return None


def _share_of_damage(path: epath.Path) -> str:
    """Describes the damage among the files that this process checks; it raises no errors itself."""
    try:
        files = read_checksums(path / CHECKSUMS_FILE)
        # Each process reads every n-th file, so that the hosts of a slice share the work of hashing.
        names = sorted(files)[jax.process_index() :: jax.process_count()]
        found = find_changed_files(path, files, names)
    except (UserError, OSError) as error:
        return str(error)
    more = [f"{len(found) - 3} more files"] if len(found) > 3 else []
    return "; ".join(found[:3] + more)


def _entries(folder: epath.Path) -> list[epath.Path]:
    """Returns the entries of a folder; on a bucket there are none before something is written."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _remove(path: epath.Path) -> None:
    """Removes a checkpoint in one step if the file system can: readers find all of it or nothing."""
    check_held()
    if not is_remote(path):
        # Removing file by file takes a while. Under another name, nobody takes it for a checkpoint meanwhile.
        path = path.rename(path.parent / f"{path.name}{_HALF_WRITTEN}-removed")
    path.rmtree()


def _move_away(path: epath.Path) -> None:
    check_held()
    if is_remote(path):
        return path.rmtree()
    target = path.parent / f"{path.name}.damaged"
    if target.exists():
        target.rmtree()
    path.rename(target)


def _compare(path: epath.Path, wanted: dict[str, jax.ShapeDtypeStruct]) -> None:
    stored = _trees().stored_shapes(path)
    missing = [name for name in wanted if name not in stored]
    if missing:
        raise UserError(
            f"{path}: holds no {missing[0]} ({len(missing)} arrays missing); it was saved by "
            "another kind of run."
        )
    for name, array in wanted.items():
        if stored[name] != tuple(array.shape):
            raise UserError(
                f"{path}: {name} has shape {stored[name]}, expected {tuple(array.shape)}; it "
                "was saved from another model or optimizer."
            )


def _on_first(work: Callable[[], Any]) -> Any:
    """Like `on_process_zero`, but a folder that cannot be read or written raises UserError."""

    def reported() -> Any:
        try:
            return work()
        except OSError as error:
            raise UserError(str(error)) from error

    return on_process_zero(reported)
