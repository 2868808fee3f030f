"""Checkpoints of any tree of arrays through Orbax: asynchronous, sharded, by many processes.

A checkpoint stores a flat table from an array's path in the tree to the array, so it can be
restored onto another mesh, in part, and whatever containers (Optax's states) it was in.
"""

from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import absolute


class Checkpointer:
    """The checkpoints `<folder>/<step>/` of one run. Every process calls every method.

    A checkpoint gets its name when it is complete; what a kill left behind has another name, is
    never read, and is removed when the folder is next opened.

    Args:
      folder: made when it is not there.
      keep: how many of the newest stay, 0 = all; None = for reading alone: nothing in the folder is
        changed, so a run may be writing to it.
    """

    def __init__(self, folder: epath.PathLike, keep: int | None):
        self._folder = absolute(folder)
        if keep is not None and keep < 0:
            raise UserError(
                f"keep={keep}: expected the number of checkpoints to keep, or 0 for all."
            )
        writes = keep is not None
        if not writes and not self._folder.exists():
            raise UserError(f"{self._folder}: no such folder of checkpoints.")
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep or None,
            create=writes,
            cleanup_tmp_directories=writes,
            read_only=not writes,
        )
        self._manager = ocp.CheckpointManager(
            self._folder, item_handlers=ocp.PyTreeCheckpointHandler(), options=options
        )

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def save(self, step: int, tree: Any, wait: bool = False) -> None:
        """Starts writing `tree`, which may be donated at once; a step that is there stays."""
        if step in self._manager.all_steps():
            return
        self._manager.save(step, args=ocp.args.PyTreeSave(_table(tree)))
        if wait:
            self.wait()

    def latest_step(self) -> int | None:
        """The newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def restore(self, step: int, abstract: Any) -> Any:
        """The arrays of a checkpoint, each read to where `abstract` wants it.

        Args:
          step: of a complete checkpoint.
          abstract: a tree of ShapeDtypeStruct with shardings, on any mesh. It may be a part of what
            was saved (`{"params": ...}`); dtypes are converted.

        Raises:
          ValueError: an array that was not saved, or saved with another shape.
        """
        wanted = _table(abstract)
        self._compare(step, wanted)
        found = self._manager.restore(
            step,
            args=ocp.args.PyTreeRestore(
                item=wanted,
                restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
                partial_restore=True,
            ),
        )
        leaves = [found[name] for name in wanted]
        return jax.tree.unflatten(jax.tree.structure(abstract), leaves)

    def restore_params(self, step: int, abstract: Any) -> Any:
        """The model's parameters of a training state, without its optimizer; see `restore`."""
        return self.restore(step, {"params": abstract})["params"]

    def _compare(self, step: int, wanted: dict[str, jax.ShapeDtypeStruct]) -> None:
        stored = self._manager.item_metadata(step)
        stored = {name: tuple(array.shape) for name, array in stored.items()}
        where = self._folder / str(step)
        missing = [name for name in wanted if name not in stored]
        if missing:
            raise UserError(
                f"{where}: holds no {missing[0]} ({len(missing)} arrays missing); it was saved by "
                "another kind of run."
            )
        for name, array in wanted.items():
            if stored[name] != tuple(array.shape):
                raise UserError(
                    f"{where}: {name} has shape {stored[name]}, expected {tuple(array.shape)}; it "
                    "was saved from another model or optimizer."
                )

    def wait(self) -> None:
        """Returns when everything saved is complete on disk; raises what went wrong there."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and frees Orbax's threads."""
        self._manager.close()


def _table(tree: Any) -> dict[str, Any]:
    """Leaves by path; keys and attributes alike: a NamedTuple is as a dict of its fields."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
