"""Times and bytes on the disk in closed form, without a program, a compiler or a device: what a dry run adds up.

The same counts as `plan.roofline` makes of traced programs: products with weights and causal attention at the peak, HBM
read and written at the maker's speed. What devices send each other is left out, since only a compiled program has it.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_axes
from jaxreason.models.model_flops import cache_attention, causal_attention, weight_products
from jaxreason.models.remat import REMAT
from jaxreason.plan.slices import Slice
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.state import wide


@dataclass(frozen=True)
class Machine:
    """The machine of a study; speeds are those of all its devices together.

    Attributes:
      name: for readers.
      chips: that are paid for.
      devices: that hold parameters.
      training, reading: FLOP/s of a training step, and of what only reads or writes tokens.
      memory: bytes/s; infinite where it is not known.
      room: bytes of a device that a program may use; infinite where they are not known.
    """

    name: str
    chips: int
    devices: int
    training: float
    reading: float
    memory: float
    room: float = math.inf

    @classmethod
    def of_slice(cls, slice_: Slice) -> "Machine":
        """The machine by its maker's numbers."""
        flops, speed = slice_.devices * slice_.kind.flops, slice_.devices * slice_.kind.hbm_speed
        return cls(
            slice_.described, slice_.chips, slice_.devices, flops, flops, speed, slice_.kind.hbm
        )


@dataclass(frozen=True)
class Spent:
    """Seconds of computing and of memory traffic, each by itself."""

    compute: float = 0.0
    memory: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.compute + other.compute, self.memory + other.memory)

    @property
    def best(self) -> float:
        """Both at once."""
        return max(self.compute, self.memory)

    @property
    def worst(self) -> float:
        """One after the other."""
        return self.compute + self.memory


def num_parameters(model: Model) -> int:
    """The number of parameters of the model."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(abstract_params(model)))


def train(
    model: Model,
    machine: Machine,
    tensor: int,
    *,
    steps: int,
    sequences: float,
    length: float,
    pieces: int,
) -> Spent:
    """Updates on so many sequences in all, of a mean length.

    A token passes through the weights forward and backward, which is three forward passes, and a fourth where the remat
    policy makes the inside of a layer again. Parameters, gradients and two moments are read and written once an update;
    weights, in the compute dtype, three times a piece of a batch, by each device those of its share of the heads.
    """
    passes = 3 + (not REMAT[model.remat].keeps_inside)
    work = passes * sequences * _forward(model, length)
    size, width = num_parameters(model), np.dtype(model.dtype).itemsize
    moved = steps * size * (7 * 4 + 3 * pieces * width * machine.devices / tensor)
    return Spent(work / machine.training, moved / machine.memory)


def read(model: Model, machine: Machine, sequences: float, length: float) -> Spent:
    """One forward pass over so many sequences; what is moved is little beside it."""
    return Spent(sequences * _forward(model, length) / machine.reading)


def write(
    model: Model,
    machine: Machine,
    tensor: int,
    slots: int,
    replies: float,
    prompt: float,
    reply: float,
) -> Spent:
    """Decoding of so many replies of a mean length, with all slots filled, prompts read before.

    Every token of all slots reads the weights once, each device those that its share of heads needs, and of the cache
    what is filled: a prompt and, on the mean, half a reply.
    """
    slots = max(min(slots, replies), 1)
    tokens = replies * reply
    products = 2.0 * _products(model) * tokens
    attended = cache_attention(model.architecture, 1, 1) * tokens * (prompt + reply / 2)
    width = np.dtype(model.dtype).itemsize
    weights = num_parameters(model) * width * machine.devices / tensor
    cache = slots * (prompt + reply / 2) * cache_bytes(model)
    moved = tokens / slots * (weights + cache)
    written = Spent((products + attended) / machine.reading, moved / machine.memory)
    return written + read(model, machine, replies, prompt)


def cache_bytes(model: Model) -> int:
    """The bytes of the keys and values of one position."""
    arch = model.architecture
    heads = arch.num_key_value_heads * arch.head_dim
    return 2 * arch.num_hidden_layers * heads * np.dtype(model.dtype).itemsize


def _forward(model: Model, length: float) -> float:
    """FLOPs of a forward pass over one sequence."""
    length = max(round(length), 1)
    return 2.0 * _products(model) * length + causal_attention(model.architecture, length)


def _products(model: Model) -> int:
    return weight_products(abstract_params(model), model.architecture.tie_word_embeddings)


TOKEN_BYTES = (
    11  # of a token in a line of samples or rollouts: its id in digits with a comma, and its text
)
LINE_BYTES = 1000  # of the line's other fields, and of its grades


def lines_bytes(replies: float, prompt: float, reply: float) -> float:
    """The bytes of so many replies in files of samples or rollouts, of mean lengths in tokens."""
    return replies * (LINE_BYTES + TOKEN_BYTES * (prompt + reply))


def checkpoint_bytes(model: Model, optimizer: OptimizerConfig) -> int:
    """The bytes of one training state: parameters and optimizer state, in their stored dtypes."""
    made = make_optimizer(optimizer, 10**6, param_axes(model))
    params = abstract_params(model)
    return _bytes(params) + _bytes(jax.eval_shape(lambda p: made.init(wide(p)), params))


def checkpoints_bytes(
    model: Model, optimizer: OptimizerConfig, steps: int, every: int, keep: int
) -> int:
    """The bytes of the checkpoints at a run's end; while the newest is written there is one more.

    `every` 0 writes one at the end alone.
    """
    made = math.ceil(steps / every) if every else 1
    return checkpoint_bytes(model, optimizer) * (min(keep, made) if keep else made)


def exported_bytes(model: Model, dtype: str) -> int:
    """The bytes of the weights of an exported folder."""
    return num_parameters(model) * np.dtype(dtype).itemsize


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))
