"""Reads a training run for other stages: the model it started from, its tokenizer, and its checkpoints."""

import dataclasses
import functools
from typing import Any

from etils import epath
from jax.sharding import Mesh

from jaxreason.checkpoint import Checkpointer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.models.huggingface import ModelConfig, ModelSource, static_model
from jaxreason.models.model_card import longest_reply
from jaxreason.results.atomic_files import read_object
from jaxreason.results.claims import DONE
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sharding import abstract_arrays, gather_texts

CHECKPOINTS = "checkpoints"


class UnavailableError(UserError):
    """A checkpoint is not available: it was removed, or its files are damaged."""


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """The record of a run, from its config.json.

    Attributes:
      folder: folder of the run.
      claimed: everything that the run's results depend on.
      seed: seed of the run.
      model: the recipe's model as of the last start.
      tokenizer: folder or hub name; "" for the model's own.
      reply_limit: the most tokens that a reply may have; None if the recipe does not say.
      checkpoint_every: steps between two checkpoints; 0 = only at the end and when stopped.
      section: the recipe's section as of the last start.
    """

    folder: epath.Path
    claimed: dict[str, Any]
    seed: int
    model: dict[str, Any]
    tokenizer: str
    reply_limit: int | None
    checkpoint_every: int
    section: dict[str, Any]

    @property
    def stage(self) -> str:
        """The stage of the run: "sft" or "rl"."""
        return self.claimed["stage"]

    @property
    def checkpoints(self) -> epath.Path:
        """The folder of its checkpoints."""
        return self.folder / CHECKPOINTS

    def ended(self) -> bool:
        """Whether the run is complete."""
        return (self.folder / DONE).exists()


def read_run(folder: epath.PathLike) -> TrainedRun:
    """Reads the record of the run in a folder.

    Raises:
      UserError: there is none, or it is broken; names the file.
    """
    path = epath.Path(folder) / "config.json"
    if not path.exists():
        raise UserError(f"{path}: not found, so no training run was begun in {folder}.")
    found = read_object(path, {"claimed": dict, "recipe": dict})
    claimed, recipe = found["claimed"], found["recipe"]
    try:
        section = recipe[claimed["stage"]]
        return TrainedRun(
            epath.Path(folder),
            claimed,
            recipe["seed"],
            recipe["model"],
            section.get("tokenizer", ""),
            longest_reply(section),
            section["checkpoint_every"],
            section,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the record of a training run (no {error}).") from error


def finished_steps(run: TrainedRun) -> list[int]:
    """Returns the steps that have checkpoints now, oldest first; the same on every process."""
    if not on_process_zero(run.checkpoints.is_dir):
        return []
    with Checkpointer(run.checkpoints, keep=None) as checkpoints:
        return checkpoints.steps()


def checkpoint_source(run: TrainedRun, step: int, config: ModelConfig, mesh: Mesh) -> ModelSource:
    """Returns a checkpoint as a model that is run as `config` says. It is read once, when it is first opened.

    Opening it raises UnavailableError if the checkpoint is gone or damaged by then.

    Raises:
      UnavailableError: it is gone, or its checksums are damaged.
    """
    with Checkpointer(run.checkpoints, keep=None) as checkpoints:
        try:
            identity = {"checkpoint": checkpoints.identity(step)}
        except UserError as error:
            raise UnavailableError(str(error)) from error

    @functools.cache  # When it is opened again, the checkpoint may have been removed.
    def params() -> Any:
        with Checkpointer(run.checkpoints, keep=None) as checkpoints:
            return restore_params(checkpoints, step, static_model(config), mesh)

    def load(how: ModelConfig) -> tuple[Model, Any]:
        return static_model(how), params()

    return ModelSource(str(run.checkpoints / str(step)), config, identity, load)


def run_tokenizer(folder: epath.Path, model_path: str) -> str:
    """Returns the folder or hub name of a run's tokenizer; `model_path` if the folder or its record names none."""
    known = (folder / "config.json").exists()
    return (read_run(folder).tokenizer if known else "") or model_path


def run_reply_limit(folder: epath.Path) -> int | None:
    """Returns the most tokens that a reply of the run in a folder may have; None if no record says it."""
    return read_run(folder).reply_limit if (folder / "config.json").exists() else None


def restore_params(checkpoints: Checkpointer, step: int, model: Model, mesh: Mesh) -> Any:
    """Reads the parameters of a checkpoint onto `mesh` and verifies all its files. Every process must call it.

    Raises:
      UnavailableError: it is damaged or was removed, possibly while it was read.
      UserError: it holds another model.
    """
    fault, found, error = checkpoints.fault(step), None, None
    if fault is not None:
        raise UnavailableError(fault)
    try:
        found = checkpoints.restore_params(
            step, abstract_arrays(abstract_params(model), param_shardings(model, mesh))
        )
    # For a file that has vanished, the libraries raise errors of any type.
    except Exception as caught:
        error = caught
    if any(gather_texts("" if error is None else repr(error))):
        if step not in checkpoints.steps():
            raise UnavailableError("removed while it was read") from error
        raise error if error is not None else UnavailableError("another process could not read it")
    return found
