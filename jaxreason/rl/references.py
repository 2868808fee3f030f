"""The models beside the policy: the reference of the KL term, and the older policy that the sampler uses.

The moving average and the sampler's older policy depend on the steps of a run, so checkpoints hold them.
"""

import dataclasses
import functools
import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int

from jaxreason.checkpoint import Checkpointer
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.huggingface import ModelConfig, open_model, static_model
from jaxreason.rl.rl_config import RLConfig
from jaxreason.training.state import TrainState

_LOG = logging.getLogger(__name__)

AVERAGE, SAMPLER = "average", "sampler"
Copies = dict[str, Any]  # Parameters by purpose.


class KeptState(NamedTuple):
    """The content of a checkpoint of a run with copies: its training state, whose names come first, and the copies."""

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    copies: Copies


def reference_config(config: RLConfig, base: ModelConfig) -> ModelConfig:
    """Returns the settings of the reference, or of the model that it starts as."""
    teacher = config.reference.teacher
    return dataclasses.replace(base, path=teacher) if teacher else base


def reference_model(config: RLConfig, base: ModelConfig) -> Model | None:
    """Returns the static description of the reference; None without a KL term.

    Raises:
      UserError: a teacher cannot be read, or was made for shorter texts than the sampler's.
    """
    if not config.has_kl:
        return None
    teacher, longest = config.reference.teacher, config.sampler.max_length
    try:
        model = static_model(reference_config(config, base))
    except UserError as error:
        raise UserError(f"rl.reference.teacher: {error}" if teacher else str(error)) from error
    limit = model.architecture.max_position_embeddings
    if longest > limit:
        raise UserError(
            f"rl.reference.teacher={teacher!r}: its max_position_embeddings are {limit}. Expected at least "
            f"rl.sampler.max_length={longest}."
        )
    return model


def check_teacher(config: RLConfig, tokenizer: Tokenizer) -> None:
    """Checks that a teacher has the policy's tokens: distributions over different tokens cannot be compared.

    Raises:
      UserError: names the first token that differs, and says what can be done instead.
    """
    teacher = config.reference.teacher
    difference = tokenizer.other_token(load_tokenizer(teacher)) if teacher else None
    if difference is not None:
        raise UserError(
            f"rl.reference.teacher={teacher!r}: has other tokens than the model ({difference}), so it cannot teach by "
            "tokens. `jaxreason distill` writes its replies as text, which any model can learn."
        )


def open_frozen(config: RLConfig, base: ModelConfig, mesh: Mesh) -> Any:
    """Opens the parameters of a reference that does not change; None if there is none or if it changes."""
    if not config.has_kl or config.reference.model == AVERAGE:
        return None
    return open_model(reference_config(config, base), mesh)[1]


def copied(config: RLConfig) -> list[str]:
    """Returns the names of the copies of the parameters that a run keeps."""
    averages = config.has_kl and config.reference.model == AVERAGE
    return [AVERAGE] * averages + [SAMPLER] * (config.samples.refresh_every > 1)


def warn_of_average(config: RLConfig, model: Model) -> None:
    """Logs a warning if the moving average is kept in so few bits that it hardly follows the policy."""
    left = 1.0 - config.reference.decay
    if AVERAGE not in copied(config) or model.param_dtype == "float32" or not left:
        return
    share = float(jnp.finfo(model.param_dtype).eps) / 2 / left
    _LOG.warning(
        "rl.reference.model='average' with model.param_dtype=%s and decay=%g: a weight of the average stays as it is "
        "until the policy's differs from it by about %.2g %% of its size. float32 follows every step.",
        model.param_dtype,
        config.reference.decay,
        100 * share,
    )


def first_copies(config: RLConfig, params: Any) -> Copies:
    """Returns the copies before the first step: all equal the base."""
    return {name: _copy(params) for name in copied(config)}


def next_copies(config: RLConfig, copies: Copies, params: Any, step: int) -> Copies:
    """Returns the copies after `step` steps (counted from 1), when the policy is `params`; the old ones are donated."""
    new = dict(copies)
    if AVERAGE in copies:
        new[AVERAGE] = _average(copies[AVERAGE], params, config.reference.decay)
    if SAMPLER in copies and step % config.samples.refresh_every == 0:
        new[SAMPLER] = _copy(params)
    return new


def checkpoint_state(state: TrainState, copies: Copies) -> TrainState | KeptState:
    """Returns the content of a checkpoint; it works on shapes too."""
    return KeptState(*state, copies) if copies else state


def restore(
    checkpoints: Checkpointer, step: int, config: RLConfig, shapes: TrainState
) -> tuple[TrainState, Copies]:
    """Reads state and copies of a checkpoint; `shapes` describes the state."""
    wanted = checkpoint_state(shapes, {name: shapes.params for name in copied(config)})
    found = checkpoints.restore(step, wanted)
    return TrainState(*found[:3]), found.copies if isinstance(found, KeptState) else {}


@jax.jit
def _copy(params: Any) -> Any:
    return jax.tree.map(jnp.copy, params)


@functools.partial(jax.jit, donate_argnums=0)
def _average(average: Any, params: Any, decay: float) -> Any:
    def mix(old, new):
        wide = decay * old.astype(jnp.float32) + (1.0 - decay) * new.astype(jnp.float32)
        return wide.astype(old.dtype)

    return jax.tree.map(mix, average, params)
