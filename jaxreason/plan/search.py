"""Searches the fastest training step that fits: remat policy, unrolled layers and rows, ranked by estimated time.

The time is that of the roofline with nothing overlapped. Two parts are added which the roofline leaves out because no
other choice in a recipe changes them: copies of stacked arrays if layers are scanned, and the addition of gradients.
"""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import ml_collections
from jax.sharding import Mesh

from jaxreason.models.architecture import Model
from jaxreason.models.remat import REMAT, Remat
from jaxreason.plan.collectives import CollectiveBytes
from jaxreason.plan.flops import ProductFlops
from jaxreason.plan.program_costs import ProgramCost, estimated_peak, measure_program
from jaxreason.plan.programs import Program, micro_batches
from jaxreason.plan.recipe_plan import STAGES, open_target
from jaxreason.plan.roofline import estimate
from jaxreason.plan.slices import Slice
from jaxreason.sharding import bytes_on_device, num_parts

_LOG = logging.getLogger(__name__)
RULE_MARGIN = 0.9  # The share of the memory that may be used if its use is only estimated.
HOPELESS = 2.0  # If the rule estimates this multiple of the memory, compiling is not tried.
MOST_ROWS = 16  # The most rows of a device at the same time.
NOT_TIMED = ("offload",)  # The link to the host is not in the estimate of time.

Make = Callable[[Any, Model, Mesh], list[Program]]


@dataclass(frozen=True)
class Way:
    """A way to run a step: `model.remat`, `model.unroll` and `micro_batch_rows` (rows over all devices)."""

    remat: str
    unroll: int
    rows: int


@dataclass(frozen=True)
class Candidate:
    """A way to run a step, with its memory and speed.

    Attributes:
      way: see Way.
      tokens_per_second: of all devices, including padding.
      total: bytes in use on a device at the step's peak, including what lies beside the program.
      compiled: whether the bytes come from the compiler; otherwise they come from a rule.
      fits: whether they are within the memory; None if that was not checked because a faster way fits.
    """

    way: Way
    tokens_per_second: float
    total: float
    compiled: bool
    fits: bool | None


@dataclass(frozen=True)
class Found:
    """The ways of a stage, fastest first.

    Attributes:
      stage: "sft" or "rl".
      now: the way of the recipe.
      candidates: all ways that were considered.
    """

    stage: str
    now: Way
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate | None:
        """The fastest way that fits."""
        return next((found for found in self.candidates if found.fits), None)


def search_recipe(config: ml_collections.ConfigDict, slice_: Slice) -> list[Found]:
    """Searches every stage (`sft`, `rl`) that the recipe has.

    Raises:
      ConfigError, ValueError: the recipe cannot run on the slice; names the field to change.
    """
    target = open_target(config, slice_)
    found = []
    for name, section, known, options in target.stages:
        make = _maker(name, 0 if known is None else known.example_tokens, options)
        given = section, target.model, target.mesh, slice_, make, target.can_compile
        found.append(search_stage(name, *given))
    return found


def _maker(name: str, example_tokens: int, options: dict[str, Any]) -> Make:
    make = functools.partial(STAGES[name][1], **options)
    if name != "sft":
        return make

    def of_examples(section: Any, model: Model, mesh: Mesh) -> list[Program]:
        return make(section, model, mesh, micro_batches(section, example_tokens))

    return of_examples


def search_stage(
    name: str,
    section: Any,
    model: Model,
    mesh: Mesh,
    slice_: Slice,
    make: Make,
    can_compile: bool,
) -> Found:
    """Ranks all ways by estimated time, then compiles them from the fastest on until one fits.

    Args:
      name: name of the stage.
      section: its section of the recipe.
      model: the recipe's model.
      mesh: mesh of the target.
      slice_: gives memory and speeds.
      make: makes the stage's programs, the training step first.
      can_compile: whether there is a compiler for the target here; otherwise a rule decides what fits.
    """
    now = Way(model.remat, model.unroll, section.micro_batch_rows)
    step = functools.partial(_step, section, model, mesh, make)
    chunk, hbm = section.logprob_chunk, slice_.kind.hbm
    ranked, works = [], {}
    for way in _ways(model, mesh, section, slice_):
        program, changed = step(way)
        if way.remat not in works:  # The work depends on tokens only, not on rows or loops.
            traced = measure_program(program, changed, mesh, False, chunk)
            works[way.remat] = _on_target(traced.work, mesh, slice_).times(1 / program.tokens)
        by_rule = _by_rule(program, changed, mesh, works[way.remat].times(program.tokens), chunk)
        seconds = _seconds(program, by_rule, changed, mesh, slice_)
        ranked.append((seconds / program.tokens, by_rule.total, way))
    ranked.sort(key=lambda found: (found[0], found[1], found[2].unroll))
    candidates: list[Candidate] = []
    for seconds, total, way in ranked:
        compiled, fits = False, total <= RULE_MARGIN * hbm
        if any(c.fits for c in candidates):
            fits = None
        elif can_compile and total <= HOPELESS * hbm and not _beaten(way, candidates):
            program, changed = step(way)
            measured = measure_program(program, changed, mesh, True, chunk)
            compiled, total = True, max(measured.total, hbm * measured.refused)
            fits = not measured.refused and total <= hbm
        elif can_compile:
            fits = False
        candidates.append(Candidate(way, 1 / seconds, total, compiled, fits))
    return Found(name, now, tuple(candidates))


def _beaten(way: Way, candidates: Sequence[Candidate]) -> bool:
    """Whether the compiler has refused the same way with as many rows or fewer."""
    return any(
        c.compiled
        and not c.fits
        and (c.way.remat, c.way.unroll) == (way.remat, way.unroll)
        and c.way.rows <= way.rows
        for c in candidates
    )


def _ways(model: Model, mesh: Mesh, section: Any, slice_: Slice) -> list[Way]:
    """Lists the ways; the recipe's rows and unrolling are among them.

    The compiler for TPUs slices stacked arrays inside products, so layers are only unrolled for other platforms.
    """
    layers, parts = model.architecture.num_hidden_layers, num_parts(mesh, "act_batch")
    unrolls = [1] if slice_.kind.platform == "tpu" else sorted({1, model.unroll, layers})
    rows = [parts * 2**k for k in range(MOST_ROWS.bit_length())]
    most = max(_most_rows(section), parts)
    rows = [n for n in rows if n <= min(most, MOST_ROWS * parts)]
    rows = sorted({*rows, section.micro_batch_rows})
    remats = [name for name in REMAT if name not in NOT_TIMED]
    return [Way(*way) for way in itertools.product(remats, unrolls, rows)]


def _most_rows(section: Any) -> int:
    """Returns the rows of a batch."""
    if hasattr(section, "batch_size"):
        return section.batch_size
    return section.mini_batch_prompts * section.group_size


def _step(section: Any, model: Model, mesh: Mesh, make: Make, way: Way) -> tuple[Program, Model]:
    changed = dataclasses.replace(model, remat=way.remat, unroll=way.unroll)
    section = dataclasses.replace(section, micro_batch_rows=way.rows)
    return make(section, changed, mesh)[0], changed


def _on_target(work: ProductFlops, mesh: Mesh, slice_: Slice) -> ProductFlops:
    """Replaces attention by that of a kernel, which `estimate` counts by remat policy, if stand-ins were traced."""
    if mesh.devices.flat[0].platform == slice_.kind.platform:
        return work
    return work._replace(attention=0.0, kernels=1.0)


def _by_rule(
    program: Program, model: Model, mesh: Mesh, work: ProductFlops, chunk: int
) -> ProgramCost:
    """Returns what `measure_program` would return without a compiler, for known work.

    If nothing is recomputed, the values between products are kept too (norms and activations, partly in float32). They
    add half of the rule's number, which counts products only.
    """
    more = kept_bytes(program, model, mesh, REMAT["none"]) / 2 if model.remat == "none" else 0.0
    return ProgramCost(
        program.name,
        {kind: bytes_on_device(tree) for kind, tree in program.held.items()},
        bytes_on_device(program.beside),
        estimated_peak(program, model, mesh, chunk) + more,
        bytes_on_device(program.args),
        work,
        CollectiveBytes({}, {}, 0),
        False,
        False,
        0.0,
    )


def _seconds(
    program: Program, measured: ProgramCost, model: Model, mesh: Mesh, slice_: Slice
) -> float:
    timed = estimate(program, measured, model, mesh, slice_)
    return timed.worst + copied_bytes(program, model, mesh) / slice_.kind.hbm_speed


def copied_bytes(program: Program, model: Model, mesh: Mesh) -> float:
    """Returns the bytes that a device moves in a step of `program` in addition to those of the roofline.

    If layers are scanned, everything that a layer keeps for its backward pass is copied into a stacked array and out
    again. Its weights are copied too (out, twice), and its gradient (in). Each copy reads and writes. With several
    micro-batches, every gradient is read and added to a sum in float32. Under any policy the values between products
    are recomputed: the results of products are read, and as much is written.
    """
    params = program.args[0].params
    gradient = sum(x.size for x in jax.tree.leaves(params)) / mesh.size * 4
    moved = 3 * gradient * program.pieces if program.pieces > 1 else 0
    if model.remat != "none":
        moved += 2 * program.pieces * kept_bytes(program, model, mesh, REMAT["none"])
    if model.unroll >= model.architecture.num_hidden_layers:
        return moved
    weights = bytes_on_device(params)
    kept = kept_bytes(program, model, mesh, REMAT[model.remat])
    return moved + 2 * program.pieces * (2 * kept + 2 * weights + gradient)


def kept_bytes(program: Program, model: Model, mesh: Mesh, remat: Remat) -> float:
    """Returns the bytes on a device that a remat policy keeps of all layers for the backward pass of a micro-batch."""
    arch, shards = model.architecture, dict(mesh.shape)
    rows = program.rows / (shards["data"] * shards["fsdp"])
    positions = rows * program.new_tokens / shards["context"]
    query = arch.num_attention_heads * arch.head_dim / shards["tensor"]
    keys = 2 * arch.num_key_value_heads * arch.head_dim / shards["tensor"]
    inside = 2 * arch.hidden_size + query + keys + 2 * arch.intermediate_size / shards["tensor"]
    each = remat.keeps_input * arch.hidden_size + remat.keeps_attention * query
    each += remat.keeps_inside * inside
    return arch.num_hidden_layers * positions * each * jax.numpy.dtype(model.dtype).itemsize
