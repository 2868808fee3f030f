"""What the programs of an update are called with, abstract: to compile them before there are weights, or to plan."""

from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from jaxreason.compiling import Compiling, ProgramCall
from jaxreason.data.packing import Layout
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.models.decoder import Model, abstract_params, param_shardings
from jaxreason.rl.logprob_passes import needs_old, needs_reference
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.rollouts import Rollouts
from jaxreason.sampling.engine_calls import copy_calls, engine_calls
from jaxreason.sharding import abstract_arrays, abstract_rows
from jaxreason.training.micro_batches import ROW_AXES
from jaxreason.training.state import TrainState
from jaxreason.training.step_calls import row_arrays

LOGPROBS = ("old_logprobs", "ref_logprobs")  # made on the devices


def begin_compiling(
    config: RLConfig,
    programs: Any,
    model: Model,
    state: TrainState,
    mesh: Mesh,
    tokenizer: Tokenizer,
    reference: Model | None,
) -> Compiling:
    """Compiles what the first step needs, while the weights are read, say.

    Args:
      config: of the run.
      programs: `loop.make_programs` of it.
      model: the policy.
      state: abstract.
      mesh: of the run.
      tokenizer: whose stop tokens end a reply.
      reference: the model of the KL term.
    """
    calls = update_calls(config, programs, state, mesh, reference)
    if config.sampled:
        given = model, mesh, config.sampler
        calls |= engine_calls(*given, tokenizer.stop_ids) | copy_calls(*given)
    return Compiling(mesh, calls)


def abstract_rollouts(config: RLConfig, mesh: Mesh, layout: Layout) -> Rollouts:
    """A batch as the training step has it."""
    shape = (layout.num_rows, layout.row_length)
    arrays: dict[str, Any] = row_arrays(mesh, shape, Rollouts._fields)
    arrays["micro_batch"] = abstract_rows(mesh, shape[:1], jnp.int32)
    for name, needed in zip(LOGPROBS, (needs_old(config), needs_reference(config)), strict=True):
        arrays[name] = abstract_rows(mesh, shape, jnp.float32, ROW_AXES) if needed else None
    return Rollouts(**arrays)


def update_calls(
    config: RLConfig, programs: Any, state: TrainState, mesh: Mesh, reference: Model | None
) -> dict[str, ProgramCall]:
    """The programs of an update by name, the largest first; arguments as of `begin_compiling`."""
    batch = abstract_rollouts(config, mesh, programs.layout)
    bare = batch._replace(old_logprobs=None, ref_logprobs=None)
    other = None if reference is None else _params(reference, mesh)
    frozen = [other] * config.exact_kl
    calls = {"RL policy step": (programs.train_step, (state, batch, *frozen))}
    if needs_old(config):
        calls["log-prob pass"] = (programs.logprob_pass, (state.params, bare))
    if needs_reference(config):
        calls["reference's log-probs"] = (programs.reference_pass, (other, bare))
    return calls


def _params(model: Model, mesh: Mesh) -> Any:
    return abstract_arrays(abstract_params(model), param_shardings(model, mesh))
