"""Computes times and bytes on disk from formulas, for dry runs: without a program, a compiler or a device.

The counts are those that `plan.roofline` makes of traced programs: products with weights and causal attention at
the peak rate, and HBM traffic at the maker's speed. Communication between devices is left out, since only a
compiled program shows it.
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
    """The machine of a study. Speeds are those of all its devices together.

    Attributes:
      name: its name for readers.
      chips: number of chips that are paid for.
      devices: number of devices that hold parameters.
      training, reading: FLOP/s of a training step, and of a program that only reads or writes tokens.
      memory: bytes/s; infinite if not known.
      room: bytes of a device that a program may use; infinite if not known.
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
        """Describes a slice by its maker's numbers."""
        flops, speed = slice_.devices * slice_.kind.flops, slice_.devices * slice_.kind.hbm_speed
        return cls(
            slice_.described, slice_.chips, slice_.devices, flops, flops, speed, slice_.kind.hbm
        )


@dataclass(frozen=True)
class Spent:
    """Seconds of programs that run one after the other.

    Attributes:
      compute: seconds of computation.
      memory: seconds of memory traffic.
      best: the time if, within each program, both overlap.
    """

    compute: float = 0.0
    memory: float = 0.0
    best: float = 0.0

    @classmethod
    def of_program(cls, compute: float, memory: float = 0.0) -> "Spent":
        """Returns the time of one program."""
        return cls(compute, memory, max(compute, memory))

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.compute + other.compute, self.memory + other.memory, self.best + other.best
        )

    def __rmul__(self, times: float) -> "Spent":
        return Spent(times * self.compute, times * self.memory, times * self.best)

    @property
    def worst(self) -> float:
        """The time if computation and memory traffic follow one another."""
        return self.compute + self.memory


def num_parameters(model: Model) -> int:
    """Returns the number of parameters of the model."""
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
    """Estimates updates on `sequences` sequences in all, with a mean length.

    The forward and backward pass of a token cost three forward passes, and a fourth if the remat policy recomputes the
    inside of a layer. Each update reads and writes parameters, gradients and two moments once. Each piece of a batch
    reads the weights three times in the compute dtype; a device reads those of its share of the heads.
    """
    passes = 3 + (not REMAT[model.remat].keeps_inside)
    work = passes * sequences * _forward(model, length)
    size, width = num_parameters(model), np.dtype(model.dtype).itemsize
    moved = steps * size * (7 * 4 + 3 * pieces * width * machine.devices / tensor)
    return Spent.of_program(work / machine.training, moved / machine.memory)


def read(model: Model, machine: Machine, sequences: float, length: float) -> Spent:
    """Estimates one forward pass over so many sequences; the memory traffic is small in comparison."""
    return Spent.of_program(sequences * _forward(model, length) / machine.reading)


def write(
    model: Model,
    machine: Machine,
    tensor: int,
    slots: int,
    replies: float,
    prompt: float,
    reply: float,
) -> Spent:
    """Estimates the decoding of so many replies of a mean length, with all slots filled, and the
    reading of their prompts.

    For each token of all slots, the weights are read once, by each device those of its share of the heads. Of the
    cache, the filled part is read: a prompt and on average half a reply.
    """
    slots = max(min(slots, replies), 1)
    tokens = replies * reply
    products = 2.0 * _products(model) * tokens
    attended = cache_attention(model.architecture, 1, 1) * tokens * (prompt + reply / 2)
    width = np.dtype(model.dtype).itemsize
    weights = num_parameters(model) * width * machine.devices / tensor
    cache = slots * (prompt + reply / 2) * cache_bytes(model)
    moved = tokens / slots * (weights + cache)
    written = Spent.of_program((products + attended) / machine.reading, moved / machine.memory)
    return written + read(model, machine, replies, prompt)


def cache_bytes(model: Model) -> int:
    """Returns the bytes of the keys and values of one position."""
    arch = model.architecture
    heads = arch.num_key_value_heads * arch.head_dim
    return 2 * arch.num_hidden_layers * heads * np.dtype(model.dtype).itemsize


def _forward(model: Model, length: float) -> float:
    """Returns the FLOPs of a forward pass over one sequence."""
    length = max(round(length), 1)
    return 2.0 * _products(model) * length + causal_attention(model.architecture, length)


def _products(model: Model) -> int:
    return weight_products(abstract_params(model), model.architecture.tie_word_embeddings)


TOKEN_BYTES = (
    11  # Of a token in a line of samples or rollouts: its id in digits with a comma, and its text.
)
LINE_BYTES = 1000  # Of the other fields of such a line, and of its grades.


def lines_bytes(replies: float, prompt: float, reply: float) -> float:
    """Returns the bytes of so many replies in files of samples or rollouts; lengths are means in tokens."""
    return replies * (LINE_BYTES + TOKEN_BYTES * (prompt + reply))


def checkpoint_bytes(model: Model, optimizer: OptimizerConfig) -> int:
    """Returns the bytes of one training state: parameters and optimizer state in their stored dtypes."""
    made = make_optimizer(optimizer, 10**6, param_axes(model))
    params = abstract_params(model)
    return _bytes(params) + _bytes(jax.eval_shape(lambda p: made.init(wide(p)), params))


def checkpoints_bytes(
    model: Model,
    optimizer: OptimizerConfig,
    steps: int,
    every: int,
    keep: int,
    copies: int = 0,
    chooses: bool = False,
) -> int:
    """Returns the bytes of the checkpoints at the end of a run. While the newest is written there is one more.

    Args:
      model: static description of the model.
      optimizer: its optimizer.
      steps: of the run.
      every: steps between two checkpoints; 0 for only one, at the end.
      keep: how many of the newest are kept; 0 for all.
      copies: further copies of the parameters in each.
      chooses: whether that of the best step is kept too, beside the newest.
    """
    made = math.ceil(steps / every) if every else 1
    each = checkpoint_bytes(model, optimizer) + copies * _bytes(abstract_params(model))
    return each * ((min(keep, made) if keep else made) + chooses)


def exported_bytes(model: Model, dtype: str) -> int:
    """Returns the bytes of the weights of an exported folder."""
    return num_parameters(model) * np.dtype(dtype).itemsize


def _bytes(tree: Any) -> int:
    return sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree))
