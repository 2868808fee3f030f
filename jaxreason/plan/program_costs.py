"""The costs of one program: from its compiled form if it can be compiled for its devices, else estimated."""

import logging
import re
import time
from dataclasses import dataclass

import jax
from jax.sharding import Mesh

from jaxreason.compiling import beside_arguments
from jaxreason.models.architecture import Model
from jaxreason.models.model_flops import cache_attention
from jaxreason.models.remat import REMAT
from jaxreason.plan.collectives import CollectiveBytes, read_collectives
from jaxreason.plan.flops import ProductFlops, count_work
from jaxreason.plan.on_paper import num_parameters
from jaxreason.plan.programs import Program
from jaxreason.sharding import bytes_on_device

_LOG = logging.getLogger(__name__)
_TOO_LARGE = re.compile(r"ran out of memory|resource_exhausted", re.IGNORECASE)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class ProgramCost:
    """The costs of a program; bytes are those of one device.

    Attributes:
      name: name of the program.
      held: bytes in memory by kind: `params`, `optimizer`, `cache`, `batch`.
      beside: bytes of the parts that are not arguments of the program.
      peak: the program's peak, including its arguments; a lower limit if the compiler refused it.
      arguments: bytes of its arguments.
      work: FLOPs of all devices.
      moved: bytes moved by collectives.
      compiled: whether the numbers come from the compiler.
      refused: whether the compiler said that the program does not fit.
      seconds: seconds that compiling took.
    """

    name: str
    held: dict[str, int]
    beside: int
    peak: float
    arguments: int
    work: ProductFlops
    moved: CollectiveBytes
    compiled: bool
    refused: bool
    seconds: float

    @property
    def total(self) -> float:
        """Bytes in use at the program's peak."""
        return self.peak + self.beside

    @property
    def temporary(self) -> float:
        """Bytes in addition to the arguments: activations, gradients, gathered weights."""
        return max(self.peak - self.arguments, 0)


def measure_program(
    program: Program, model: Model, mesh: Mesh, can_compile: bool, chunk: int
) -> ProgramCost:
    """Compiles the program for the devices of `mesh`, or estimates its memory.

    Args:
      program: the program to measure.
      model: its model.
      mesh: mesh of the target.
      can_compile: whether there is a compiler for the target here.
      chunk: number of positions whose logits are in memory at the same time; for the estimate.
    """
    _LOG.info("%s %s", "compiling" if can_compile else "tracing", program.name)
    began = time.perf_counter()
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        traced = program.function.trace(*program.args)
        work = _work(program, model, traced.jaxpr)
        if can_compile:
            platform = mesh.devices.flat[0].platform
            lowered = traced.lower(lowering_platforms=("cuda" if platform == "gpu" else platform,))
    refused, moved = False, CollectiveBytes({}, {}, 0)
    if can_compile:
        peak, moved, refused = _compile(lowered, mesh)
    else:
        peak = estimated_peak(program, model, mesh, chunk)
    return ProgramCost(
        program.name,
        {kind: bytes_on_device(tree) for kind, tree in program.held.items()},
        bytes_on_device(program.beside),
        peak,
        bytes_on_device(program.args),
        work,
        moved,
        can_compile,
        refused,
        time.perf_counter() - began,
    )


def _work(program: Program, model: Model, jaxpr) -> ProductFlops:
    """Counts the products. The running program decides how many blocks of a cache it reads; all are counted."""
    work = count_work(jaxpr)
    if "cache" not in program.held:
        return work
    attention = cache_attention(model.architecture, program.tokens, program.length)
    return work._replace(attention=attention)


def _compile(lowered, mesh: Mesh) -> tuple[float, CollectiveBytes, bool]:
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if not _TOO_LARGE.search(str(error)):
            raise
        return needed_bytes(str(error)), CollectiveBytes({}, {}, 0), True
    peak = peak_bytes(compiled, mesh.devices.flat[0].platform)
    return peak, read_collectives(compiled.as_text(), dict(mesh.shape)), False


def peak_bytes(compiled, platform: str) -> float:
    """Returns the most memory that a compiled program uses, including its arguments.

    On a TPU this is the compiler's own number. On GPUs and CPUs, its number may leave temporary memory out.
    """
    stats = compiled.memory_analysis()
    peak = getattr(stats, "peak_memory_in_bytes", 0)
    if peak and platform == "tpu":
        return float(peak)
    return float(stats.argument_size_in_bytes + beside_arguments(stats))


def needed_bytes(message: str) -> float:
    """Returns the largest amount in the compiler's message of refusal; 0 if it has none."""
    sizes = re.findall(r"(\d+(?:\.\d+)?)([KMGT])i?B?\b", message)
    return max((float(number) * _UNITS[unit] for number, unit in sizes), default=0.0)


def estimated_peak(program: Program, model: Model, mesh: Mesh, chunk: int) -> float:
    """Estimates a peak: the arguments, and by a rule what the program allocates itself.

    Training: one gradient in float32 (two with several micro-batches); what the remat policy keeps of each layer (its
    input, the output of attention, or its whole inside); one layer's inside, forward and backward, for the rows of a
    device; two chunks of logits; and two layers' gathered weights. A forward pass: the same without gradients and with
    one layer's input. Decode: logits, and all weights in the compute dtype if they are not stored whole.
    """
    arch, shards = model.architecture, dict(mesh.shape)
    tensor, devices = shards["tensor"], mesh.size
    size = num_parameters(model)
    width = 2 if model.dtype != "float32" else 4
    rows = program.rows / (shards["data"] * shards["fsdp"])
    positions = rows * program.new_tokens / shards["context"]
    heads = (arch.num_attention_heads + 2 * arch.num_key_value_heads) * arch.head_dim
    layer = positions * (6 * arch.hidden_size + (4 * arch.intermediate_size + 3 * heads) / tensor)
    logits = rows * min(chunk, program.new_tokens) * arch.vocab_size / tensor * 4
    weights = size / arch.num_hidden_layers / tensor
    arguments = bytes_on_device(program.args)
    if program.kind == "move":
        return arguments
    if program.kind == "decode":
        collected = max(size / tensor * width - bytes_on_device(program.args[0]), 0)
        return arguments + 3 * logits + collected + layer * width
    entered = positions * arch.hidden_size
    attended = positions * arch.num_attention_heads * arch.head_dim / tensor
    remat = REMAT[model.remat]
    kept = remat.keeps_input * entered + remat.keeps_attention * attended
    if remat.keeps_inside:
        kept = layer
    saved = arch.num_hidden_layers * kept if program.kind == "train" else entered
    made = (saved + layer * (2 if program.kind == "train" else 1) + 2 * weights) * width
    gradients = 4 * size / devices * (2 if program.pieces > 1 else 1)
    return arguments + made + 2 * logits + (gradients if program.kind == "train" else 0)
