"""Converts a run's checkpoint, or a Hugging Face folder, into a Hugging Face folder in the recipe's parameter dtype."""

import dataclasses
import functools
from typing import Any

import jax
from etils import epath

from jaxreason.checkpoint import Checkpointer
from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import (
    ModelConfig,
    open_model,
    read_architecture,
    resolve,
    static_model,
)
from jaxreason.models.model_card import converted_card, run_card
from jaxreason.results.atomic_files import is_taken
from jaxreason.results.code_version import code_version
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.training.run_reader import (
    CHECKPOINTS,
    UnavailableError,
    read_run,
    restore_params,
    run_reply_limit,
    run_tokenizer,
)


def run_convert(
    config: ModelConfig, mesh: jax.sharding.Mesh, source: str, target: str, step: int | None = None
) -> None:
    """Writes `target`.

    Args:
      config: the recipe's model; for checkpoints of a run it gives the architecture.
      mesh: the devices that hold the parameters meanwhile.
      source: a run's `checkpoints` folder, or a Hugging Face folder or hub name.
      target: the folder to write; it must not exist.
      step: the checkpoint's step; None for the newest complete one.

    Raises:
      ConfigError: `target` exists, `source` has no such checkpoint, the run's model is not the recipe's, or `step` is
        given for a Hugging Face folder.
      UserError: the checkpoint is damaged.
    """
    folder, checkpoints = epath.Path(target), epath.Path(source)
    if on_process_zero(lambda: is_taken(folder)):  # process 0 makes it later
        raise ConfigError(f"--target {target}: exists already; choose another folder or remove it.")
    own = checkpoints.name == CHECKPOINTS
    if not own:
        _check_no_run(source, step)
    tokenizer = resolve(run_tokenizer(checkpoints.parent, config.path) if own else source)
    loaded = load_tokenizer(tokenizer)
    stops, longest = loaded.stop_tokens, None
    if own:
        model = static_model(config)
        on_process_zero(lambda: _check_architecture(checkpoints.parent, config.path, model))
        made, params = _restore(model, mesh, checkpoints, step)
        run = checkpoints.parent
        longest = on_process_zero(lambda: run_reply_limit(run))
        card = functools.partial(run_card, run, stops, made)
    else:
        card = functools.partial(converted_card, source, stops)
        model, params = open_model(
            dataclasses.replace(config, path=source, init="pretrained"), mesh
        )
    save_model(
        folder,
        model,
        params,
        tokenizer_from=tokenizer,
        max_shard_bytes=5 * 2**30,
        dtype=config.param_dtype,
        stop_tokens=stops,
        pad_token=loaded.pad_token,
        longest_reply=longest,
        card=lambda: card(code_version()),
        new=True,
    )
    if jax.process_index() == 0:
        print(f"wrote {folder}")


def _check_no_run(source: str, step: int | None) -> None:
    """Refuses a run's folder, or one of its checkpoints, in the place of a model; and a step of what has none."""
    folder = epath.Path(source)
    if on_process_zero((folder / CHECKPOINTS).is_dir):
        raise ConfigError(
            f"--source {source}: a run's folder; expected its {CHECKPOINTS} folder or its model folder."
        )
    if folder.parent.name == CHECKPOINTS and folder.name.isdigit():
        raise ConfigError(
            f"--source {source}: one checkpoint; expected --source {folder.parent} --step {folder.name}."
        )
    if step is not None:
        raise ConfigError(
            f"--step {step}: for a run's checkpoints folder, and --source is {source}."
        )


def _check_architecture(run: epath.Path, path: str, model: Model) -> None:
    """Refuses a recipe's model that computes otherwise than the run's own, where a config.json of that is at hand.

    Weights of equal shapes do not tell: a rope or a window of another model would be exported with them.
    """
    known = read_run(run).model.get("path", "") if (run / "config.json").exists() else ""
    folders = [run / "model", *([epath.Path(known)] if known else [])]
    folder = next((one for one in folders if (one / "config.json").exists()), None)
    if folder is None:
        return
    own, other = (dataclasses.asdict(a) for a in (read_architecture(folder), model.architecture))
    for name, value in own.items():
        if value != other[name]:
            raise ConfigError(
                f"--source {run / CHECKPOINTS}: {folder} has {name} {value!r}, not {other[name]!r} as {path} has; "
                "expected the recipe of the run (config.model)."
            )


def _restore(
    model: Model, mesh: jax.sharding.Mesh, folder: epath.Path, step: int | None
) -> tuple[int, Any]:
    with Checkpointer(folder, keep=None) as checkpoints:  # read only: a run may be writing there
        steps = checkpoints.steps()
        if step is not None and step not in steps:
            there = ", ".join(map(str, steps)) or "none"
            raise ConfigError(f"--step {step}: no such checkpoint in {folder}; there are: {there}.")
        step = checkpoints.latest_step() if step is None else step
        if step is None:
            raise ConfigError(f"--source {folder}: holds no complete checkpoint.")
        try:
            return step, restore_params(checkpoints, step, model, mesh)
        except UnavailableError as error:
            raise UserError(f"{folder / str(step)}: {error}.") from error
