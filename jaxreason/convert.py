"""A run's checkpoint, or any Hugging Face folder, as a Hugging Face folder in the recipe's parameter dtype."""

import dataclasses

import jax
from etils import epath

from jaxreason.checkpoint import Checkpointer
from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.distributed import on_process_zero
from jaxreason.models.decoder import Model, abstract_params, param_shardings
from jaxreason.models.huggingface import ModelConfig, open_model, resolve, save_model
from jaxreason.sharding import abstract_arrays
from jaxreason.training.state import static_model


def run_convert(config: ModelConfig, mesh: jax.sharding.Mesh, source: str, target: str) -> None:
    """Writes `target`.

    Args:
      config: the recipe's model: of a run's checkpoints, its architecture and tokenizer.
      mesh: where the parameters are held meanwhile.
      source: a run's `checkpoints` folder (its newest step is taken), or a Hugging Face folder or hub name.
      target: the folder to write; must not exist.

    Raises:
      ConfigError: `target` exists, or `source` holds no checkpoint.
    """
    folder = epath.Path(target)
    if on_process_zero(folder.exists):  # which makes it later
        raise ConfigError(f"--target {target}: exists already; choose another folder or remove it.")
    own = epath.Path(source).name == "checkpoints"
    tokenizer = resolve(config.path if own else source)
    stop_tokens = load_tokenizer(tokenizer).stop_tokens
    if own:
        model = static_model(config)
        params = _restore(model, mesh, epath.Path(source))
    else:
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
        stop_tokens=stop_tokens,
    )
    if jax.process_index() == 0:
        print(f"wrote {folder}")


def _restore(model: Model, mesh: jax.sharding.Mesh, folder: epath.Path):
    abstract = abstract_arrays(abstract_params(model), param_shardings(model, mesh))
    with Checkpointer(folder, keep=None) as checkpoints:  # a run may be writing there
        step = checkpoints.latest_step()
        if step is None:
            raise ConfigError(f"--source {folder}: holds no complete checkpoint.")
        return checkpoints.restore_params(step, abstract)
