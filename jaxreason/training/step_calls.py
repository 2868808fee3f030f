"""What a training step is called with, abstract: to compile it before there are weights, and to plan it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxreason.data.batches import TokenBatch
from jaxreason.sharding import abstract_rows
from jaxreason.training.sft_config import SFTConfig
from jaxreason.training.state import TrainState

WHOLE_NUMBERS = ("tokens", "positions", "segment_ids")


def sft_arguments(
    config: SFTConfig, state: TrainState, mesh: Mesh, num_micro_batches: int
) -> tuple[Any, ...]:
    """Of `sft.make_step`: the state, a batch as `place_rows` lays it out, and the parameters of a KL term."""
    batch = batch_of_rows(mesh, num_micro_batches * config.micro_batch_rows, config.length)
    return (state, batch, *[state.params] * (config.kl_coefficient > 0))


def batch_of_rows(mesh: Mesh, rows: int, length: int) -> TokenBatch:
    """So many rows of so many tokens."""
    return TokenBatch(**row_arrays(mesh, (rows, length), TokenBatch._fields))


def row_arrays(
    mesh: Mesh, shape: tuple[int, int], names: tuple[str, ...]
) -> dict[str, jax.ShapeDtypeStruct]:
    """Arrays of a batch by name."""
    return {
        name: abstract_rows(mesh, shape, jnp.int32 if name in WHOLE_NUMBERS else jnp.float32)
        for name in names
    }
