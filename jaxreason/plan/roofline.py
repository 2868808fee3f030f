"""Estimates how long a program takes at best and at worst, from its FLOPs, its bytes and the makers' speeds."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params
from jaxreason.models.model_flops import cache_attention, causal_attention, weight_products
from jaxreason.models.remat import REMAT
from jaxreason.plan.program_costs import ProgramCost
from jaxreason.plan.programs import Program
from jaxreason.plan.slices import Slice
from jaxreason.sharding import bytes_on_device


class Share(NamedTuple):
    """The share of the makers' speeds that is reached in the worst case."""

    products: float
    memory: float


# By platform. Training steps of 0.6B to 4B models and decoding at 14B on an H200 (docs/performance.md)
# reached these shares or more, including work that is neither a product nor a read of weights or cache. On a
# TPU nothing has been timed.
REACHED = {"gpu": Share(0.45, 0.6), "tpu": Share(1.0, 1.0)}

ASSUMPTIONS = (
    "Time is between the longest of computing, memory and links (all overlapped) and their sum (nothing overlapped).",
    "On GPUs that sum is of products at 45 % of the peak and of memory at 60 % of its speed, the least that was seen "
    "on an H200; on TPUs, where nothing has been timed, of the makers' numbers.",
    "Computing: products from the traced program at the maker's bfloat16 peak; kernels as causal attention, whose "
    "backward pass is 2.5 forward passes; nothing else takes time.",
    "Memory: weights once a pass in the compute dtype, parameters and moments read and written once a step, the cache "
    "read whole by one step (by those of a run as far as it is filled on average: a prompt and half of a reply); "
    "activations stay on the chip.",
    "Links: bytes that the compiled program's collectives bring to a device, at the sum of its links' speeds in one "
    "direction; axis data over the network where there are several slices.",
    "MFU: 6 FLOPs (training; 2 reading) a parameter that a token is multiplied with, and causal attention over full "
    "rows, against the peak; recomputation does not count. Padding counts as tokens.",
)


@dataclass(frozen=True)
class Timed:
    """Seconds of one run of a program.

    Attributes:
      compute: seconds of products.
      memory: seconds of HBM traffic.
      links: seconds of collectives within and between slices.
      reached: the share of the first two speeds that is reached in the worst case.
      model_flops: FLOPs of all devices, without recomputation.
      executed_flops: FLOPs of all devices.
      peak_flops: FLOP/s of all devices.
      cache: of `compute` and `memory`, what a decoding step spends on a full cache.
    """

    compute: float
    memory: float
    links: float
    reached: Share
    model_flops: float
    executed_flops: float
    peak_flops: float
    cache: tuple[float, float] = (0.0, 0.0)

    def filled(self, share: float) -> "Timed":
        """Returns the time of a decoding step whose cache is filled to this share."""
        compute, memory = (
            whole - (1 - share) * part
            for whole, part in zip((self.compute, self.memory), self.cache, strict=True)
        )
        return dataclasses.replace(self, compute=compute, memory=memory)

    @property
    def best(self) -> float:
        """The time if everything overlaps."""
        return max(self.compute, self.memory, self.links)

    @property
    def worst(self) -> float:
        """The time if nothing overlaps and everything runs at the lowest share of its speed that was seen."""
        computing = self.compute / self.reached.products
        return computing + self.memory / self.reached.memory + self.links

    def mfu(self, seconds: float) -> float:
        """Returns the model's FLOPs in this time as a share of the peak."""
        return self.model_flops / (self.peak_flops * seconds)


def estimate(
    program: Program, measured: ProgramCost, model: Model, mesh: Mesh, slice_: Slice
) -> Timed:
    """Estimates the time of one run, under ASSUMPTIONS."""
    kind, devices = slice_.kind, mesh.size
    executed = measured.work.weights + measured.work.attention
    if measured.work.kernels:
        executed += _attention(program, model) * _kernel_passes(program, model)
    links = 0.0
    for axes, moved in measured.moved.by_axis.items():
        over_network = slice_.num_slices > 1 and "data" in axes.split("+")
        links += moved / (kind.network_speed if over_network else kind.link_speed)
    passes = 3 if program.kind == "train" else 1
    products = 2.0 * weight_products(abstract_params(model), model.architecture.tie_word_embeddings)
    return Timed(
        compute=executed / devices / kind.flops,
        memory=_memory_traffic(program, measured, model, mesh) / kind.hbm_speed,
        links=links,
        reached=REACHED[kind.platform],
        model_flops=passes * (products * program.tokens + _attention(program, model)),
        executed_flops=executed,
        peak_flops=kind.flops * devices,
        cache=_cache_time(program, measured, executed, mesh, slice_),
    )


def _cache_time(
    program: Program, measured: ProgramCost, executed: float, mesh: Mesh, slice_: Slice
) -> tuple[float, float]:
    """Returns what a decoding step takes for attention over a full cache: seconds of computing and of memory."""
    if program.kind != "decode":
        return 0.0, 0.0
    attending = (executed - measured.work.weights) / mesh.size / slice_.kind.flops
    return attending, _cache_bytes(program, measured) / slice_.kind.hbm_speed


def _attention(program: Program, model: Model) -> float:
    """Returns the FLOPs of one forward pass of attention over all rows of a run."""
    arch = model.architecture
    if program.kind == "decode":
        return cache_attention(arch, program.tokens, program.length)
    return program.rows * program.pieces * causal_attention(arch, program.new_tokens)


def _kernel_passes(program: Program, model: Model) -> float:
    if program.kind != "train":
        return 1.0
    return 3.5 + (not REMAT[model.remat].keeps_attention)


def _memory_traffic(program: Program, measured: ProgramCost, model: Model, mesh: Mesh) -> float:
    params = program.args[0].params if program.kind == "train" else program.args[0]
    weights = _read_bytes(params, model) / mesh.shape["tensor"]
    if program.kind == "move":
        return bytes_on_device(program.args)  # They are read and written.
    if program.kind == "train":
        state = bytes_on_device(params) * 3 + measured.held["optimizer"] * 2
        return 3 * weights * program.pieces + state
    cache = _cache_bytes(program, measured)
    if program.kind == "decode":
        return weights + cache
    return weights * program.pieces + 2 * cache


def _cache_bytes(program: Program, measured: ProgramCost) -> float:
    """Returns the bytes of the arguments beside the weights, nearly all of which are the cache."""
    return max(measured.arguments - bytes_on_device(program.args[0]), 0)


def _read_bytes(params: Any, model: Model) -> float:
    """Returns the bytes of all parameters read in one pass: in the compute dtype, but int8 ones as they are."""
    width = np.dtype(model.dtype).itemsize
    return sum(
        math.prod(x.shape) * min(np.dtype(x.dtype).itemsize, width) for x in jax.tree.leaves(params)
    )
