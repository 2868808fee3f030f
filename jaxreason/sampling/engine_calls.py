"""The programs of an engine with abstract arguments, as it will call them: they can be compiled before it exists."""

from collections.abc import Collection, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.compiling import ProgramCall
from jaxreason.models.architecture import Model
from jaxreason.models.sampler_weights import (
    abstract_layout,
    move_program,
    sampling_model,
)
from jaxreason.sampling.device_programs import abstract_slots, make_device_programs
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sequences import make_admission
from jaxreason.sharding import num_parts

FIRST_COPY, NEXT_COPY = "weights to the sampler", "new weights to the sampler"


def copy_calls(model: Model, mesh: Mesh, config: SamplerConfig) -> dict[str, ProgramCall]:
    """Returns the programs that copy the weights for the sampler, if any: the first copy and one that replaces it."""
    found = move_program(model, mesh, config.weights)
    if found is None:
        return {}
    function, (params, old) = found
    return {FIRST_COPY: (function, (params, None)), NEXT_COPY: (function, (params, old))}


def engine_calls(
    model: Model,
    mesh: Mesh,
    config: SamplerConfig,
    stop_ids: Collection[int],
    close_think: Sequence[int] = (),
    open_think: int | None = None,
) -> dict[str, ProgramCall]:
    """Returns the engine's programs by name, the largest first.

    Args:
      model: the trainer's model, as the engine gets it.
      mesh: the engine's mesh.
      config: the engine's sizes.
      stop_ids: tokens that end a reply.
      close_think, open_think: the same as the engine's.
    """
    parts = num_parts(mesh, "act_batch")
    sizes, sampler = config.sizes(parts), sampling_model(model, mesh, config.weight_dtype)
    programs = make_device_programs(
        sampler, mesh, sizes, tuple(sorted(set(stop_ids))), tuple(close_think), open_think
    )
    params, state = (
        abstract_layout(model, mesh, config.weights),
        abstract_slots(sampler, mesh, sizes),
    )
    rows, block, slots = config.prefill_blocks, config.prefill_block, config.slots
    nothing = make_admission(
        [], sizes, model.architecture.vocab_size, [[]] * parts, lambda _: "open"
    )
    tables, tokens = _numbers(slots, sizes.columns), _numbers(rows, block)
    prompts = (_numbers(rows, sizes.columns), tokens, _numbers(rows), _numbers(rows))
    return {
        "decode": (programs.decode, (params, state, tables, _numbers(slots), _numbers())),
        "prefill": (programs.prefill, (params, state, *prompts)),
        "admit": (programs.admit, (state, jax.tree.map(_abstract, nothing))),
        "cache": (programs.make_state, (params,)),
    }


def _numbers(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.int32)


def _abstract(x: np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
