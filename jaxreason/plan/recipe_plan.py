"""The plan of a recipe on a slice: compiles its programs, estimates their times, and finds
the largest sizes that fit.
"""

import dataclasses
import functools
import logging
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_collections
from etils import epath
from jax.sharding import Mesh

from jaxreason.config import ConfigError, parse
from jaxreason.evaluation.eval_settings import EvalConfig
from jaxreason.evaluation.evaluator import fitting
from jaxreason.evaluation.validator import needed_eval
from jaxreason.models.architecture import Model
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import ModelConfig, make_model, static_model
from jaxreason.models.remat import REMAT
from jaxreason.plan.devices import slice_devices
from jaxreason.plan.fit import STEP, Line, length_of, next_slice, other_slots, shorter
from jaxreason.plan.on_paper import num_parameters
from jaxreason.plan.plan_settings import PlanConfig, with_local_examples
from jaxreason.plan.program_costs import ProgramCost, measure_program
from jaxreason.plan.programs import Program, micro_batches, rl_programs, sft_programs
from jaxreason.plan.roofline import Timed, estimate
from jaxreason.plan.run_time import RunTime, rl_time, sft_time
from jaxreason.plan.slices import Slice
from jaxreason.rl.references import reference_model
from jaxreason.rl.rl_config import RLConfig
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sharding import MeshConfig, make_mesh, num_parts
from jaxreason.training.sft_config import SFTConfig

_LOG = logging.getLogger(__name__)
STAGES = {"sft": (SFTConfig, sft_programs), "rl": (RLConfig, rl_programs)}


@dataclass(frozen=True)
class Limit:
    """The largest value of a field that fits.

    Attributes:
      what: the field in words.
      largest: the largest value; 0 if none fits.
      now: the recipe's value.
      how: where the number comes from.
    """

    what: str
    largest: int
    now: int
    how: str


@dataclass(frozen=True)
class StagePlan:
    """A section of the recipe: its programs in the order in which they run, and the training step by remat policy."""

    name: str
    programs: tuple[Program, ...]
    measured: tuple[ProgramCost, ...]
    timed: tuple[Timed, ...]
    limits: tuple[Limit, ...]
    remats: dict[str, ProgramCost]
    run_times: tuple[RunTime, ...]
    advice: tuple[str, ...]

    def fits(self, slice_: Slice) -> bool:
        """Whether all programs fit."""
        return all(m.total <= slice_.kind.hbm and not m.refused for m in self.measured)


@dataclass(frozen=True)
class Plan:
    """What a recipe needs on a slice."""

    slice: Slice
    mesh: dict[str, int]
    model: Model
    num_parameters: int
    stages: tuple[StagePlan, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns everything measured and estimated, as plain values."""
        return {
            "slice": dataclasses.asdict(self.slice) | {"devices": self.slice.devices},
            "hbm": self.slice.kind.hbm,
            "mesh": self.mesh,
            "model": dataclasses.asdict(self.model),
            "num_parameters": self.num_parameters,
            "stages": [self._stage(stage) for stage in self.stages],
        }

    def _stage(self, stage: StagePlan) -> dict[str, Any]:
        rows = zip(stage.programs, stage.measured, stage.timed, strict=True)
        programs = [
            {
                **{"tokens": program.tokens, "pieces": program.pieces, "rows": program.rows},
                **_plain(measured),
                **{"total": measured.total, "temporary": measured.temporary},
                "time": _plain(timed) | {"best": timed.best, "worst": timed.worst},
            }
            for program, measured, timed in rows
        ]
        return {
            "name": stage.name,
            "fits": stage.fits(self.slice),
            "programs": programs,
            "limits": [dataclasses.asdict(limit) for limit in stage.limits],
            "remats": {name: _plain(found) for name, found in stage.remats.items()},
            "run_times": [dataclasses.asdict(found) for found in stage.run_times],
            "advice": list(stage.advice),
        }


def _plain(value: Any) -> dict[str, Any]:
    """Converts a dataclass to plain values; named tuples in it keep their names."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {k: v._asdict() if hasattr(v, "_asdict") else v for k, v in fields.items()}


def plan_recipe(
    config: ml_collections.ConfigDict, slice_: Slice, fit: bool, remat: bool = False
) -> Plan:
    """Plans every stage (`sft`, `rl`) that the recipe has.

    Args:
      config: the recipe.
      slice_: where it would run.
      fit: whether to compile more, to find the largest sizes that fit.
      remat: whether to compile the training step under every remat policy.

    Raises:
      ConfigError, ValueError: the recipe cannot run like this; names the field to change.
    """
    target = open_target(config, slice_)
    model, mesh, where = target.model, target.mesh, (slice_, target.can_compile)
    stages = [_stage(stage, model, mesh, *where, fit, remat) for stage in target.stages]
    return Plan(slice_, dict(mesh.shape), model, num_parameters(model), tuple(stages))


class Target(NamedTuple):
    """A recipe on the devices that it is planned for.

    Attributes:
      model: the recipe's model.
      mesh: mesh of these devices, or of stand-ins.
      can_compile: whether there is a compiler for them here.
      stages: those of `STAGES` that the recipe has.
    """

    model: Model
    mesh: Mesh
    can_compile: bool
    stages: tuple["Stage", ...]


class Stage(NamedTuple):
    """A stage of a recipe.

    Attributes:
      name: its name in `STAGES`.
      section: its section.
      known: what is known of the data.
      options: more arguments of the function that makes its programs.
    """

    name: str
    section: Any
    known: PlanConfig | None
    options: dict[str, Any]


def open_target(config: ml_collections.ConfigDict, slice_: Slice) -> Target:
    """Returns what a plan and a search both need: slice, mesh and model.

    Raises:
      ConfigError, ValueError: the recipe has no stage, or a section does not fit; names the field to change.
    """
    names = [name for name in STAGES if name in config]
    if not names:
        raise ConfigError(
            f"config: nothing to plan; expected a section {' or '.join(STAGES)}, there are "
            f"{', '.join(config.keys())}."
        )
    plan = parse(PlanConfig, config.plan, "config.plan") if "plan" in config else None
    model_config = parse(ModelConfig, config.model, "config.model")
    model = planned_model(model_config, plan)
    devices, can_compile = slice_devices(slice_)
    mesh = make_mesh(parse(MeshConfig, config.mesh, "config.mesh"), devices)
    stages = []
    for name in names:
        section = parse(STAGES[name][0], config[name], f"config.{name}")
        known = with_local_examples(plan, section, model_config) if name == "sft" else plan
        if name == "sft":
            options = {"sampler": _validating_sampler(config, section, model)}
        else:
            options = {"reference": planned_teacher(section, model_config)}
        stages.append(Stage(name, section, known, options))
    return Target(model, mesh, can_compile, tuple(stages))


def _validating_sampler(
    config: ml_collections.ConfigDict, section: SFTConfig, model: Model
) -> SamplerConfig | None:
    """Returns the sizes of the engine that validates SFT; None without validation. RL's own engine validates it."""
    if not section.validation.every:
        return None
    asked = parse(EvalConfig, config.eval, "config.eval") if "eval" in config else None
    asked = needed_eval(asked, section.validation, "sft")
    return fitting(asked, model.architecture.max_position_embeddings).sampler


def planned_teacher(section: RLConfig, config: ModelConfig) -> Model | None:
    """Returns the model of the KL term's reference if it is another one than the policy's.

    Raises:
      UserError: as `reference_model`.
    """
    teacher = section.reference.teacher
    if not (section.has_kl and teacher):
        return None
    if epath.Path(teacher).expanduser().is_dir():
        return reference_model(section, config)
    _LOG.warning(
        "rl.reference.teacher=%r: this folder is not here, so it is counted as if it had the policy's size.",
        teacher,
    )
    return None


def planned_model(config: ModelConfig, plan: PlanConfig | None) -> Model:
    """Returns the model of a recipe: from its folder if it is here, else from the recipe's `plan` section.

    Raises:
      ValueError: there is neither, or the settings contradict each other.
    """
    here = config.init == "random" or (
        config.path and epath.Path(config.path).expanduser().is_dir()
    )
    if here or plan is None or not plan.architecture:
        return static_model(config)
    return make_model(config, architecture_from_hf(plan.architecture))


def _stage(stage: Stage, model, mesh, slice_, can_compile, fit, remat) -> StagePlan:
    name, section, plan, options = stage

    def run(programs: list[Program], model: Model = model) -> list[ProgramCost]:
        return [
            measure_program(p, model, mesh, can_compile, section.logprob_chunk) for p in programs
        ]

    make = functools.partial(STAGES[name][1], **options)
    if name == "sft":
        tokens = 0 if plan is None else plan.example_tokens
        make = functools.partial(make, num_micro_batches=micro_batches(section, tokens))
    programs = make(section, model, mesh)
    measured = run(programs)
    timed = [estimate(p, m, model, mesh, slice_) for p, m in zip(programs, measured, strict=True)]
    times = {p.name: t for p, t in zip(programs, timed, strict=True)}
    limits = []
    if fit:
        limits = _train_limits(name, section, model, mesh, slice_, measured[0], make, run)
        if name == "rl" and section.sampled:
            limits += _slot_limit(section, model, mesh, slice_, measured[-1], make, run)
    remats = {}
    for policy in REMAT if remat else ():
        other = dataclasses.replace(model, remat=policy)
        remats[policy] = run(make(section, other, mesh)[:1], other)[0]
    return StagePlan(
        name,
        tuple(programs),
        tuple(measured),
        tuple(timed),
        tuple(limits),
        remats,
        tuple(_run_times(section, plan, times, slice_)),
        tuple(_advice(measured, limits, slice_)),
    )


def _train_limits(name, section, model, mesh: Mesh, slice_, full: ProgramCost, make, run):
    """Finds the longest rows, and the most rows at the same time, from the step at two lengths."""
    length, hbm = length_of(section), slice_.kind.hbm
    most = model.architecture.max_position_embeddings
    halves = [2, 4] if full.refused else [2]
    found = [run(make(shorter(section, factor), model, mesh)[:1])[0] for factor in halves]
    if any(part.refused for part in found):
        what = f"tokens of a row ({name}.{'length' if name == 'sft' else 'row_length'})"
        return [Limit(what, 0, length, f"refused at {length // halves[0]} too")]
    points = [(length // factor, part.total) for factor, part in zip(halves, found, strict=True)]
    points += [] if full.refused else [(length, full.total)]
    (short, low), (long, high) = sorted(points)
    line = Line(f"{name}.length", (short, long), (low, high))
    how = f"line through compiles at {short:,} and {long:,} tokens"
    how = how if full.compiled else f"rule, at {short:,} and {long:,} tokens"
    field = "sft.length" if name == "sft" else "rl.row_length"
    parts = num_parts(mesh, "act_batch")
    rows = section.micro_batch_rows
    in_rows = Line("rows", tuple(rows * s / length for s in line.sizes), line.totals)
    at_once = in_rows.largest(hbm, parts, 10**6)
    return [
        Limit(f"tokens of a row ({field})", line.largest(hbm, STEP, most), length, how),
        Limit(
            f"rows at a time ({name}.micro_batch_rows)",
            at_once,
            rows,
            f"{how}, a row being {length:,} of them",
        ),
    ]


def _slot_limit(
    section: RLConfig, model, mesh, slice_, full: ProgramCost, make, run
) -> list[Limit]:
    parts, now = num_parts(mesh, "act_batch"), section.sampler.slots
    other = other_slots(section, parts)
    found = run(make(other, model, mesh)[-1:])[0]
    if full.refused or found.refused:
        return [Limit("decode slots (rl.sampler.slots)", 0, now, "refused by the compiler")]
    slots = other.sampler.slots
    line = Line("slots", (slots, now), (found.total, full.total))
    most = section.prompts_per_batch * section.sampled
    how = f"line through {'compiles' if full.compiled else 'the rule'} at {min(slots, now)} and {max(slots, now)}"
    largest = line.largest(slice_.kind.hbm, parts, most)
    how += "; there are no more replies at a time" if largest >= most // parts * parts else ""
    return [Limit("decode slots (rl.sampler.slots)", largest, now, how)]


def _run_times(section, plan: PlanConfig | None, timed: dict[str, Timed], slice_: Slice):
    if plan is None:
        return []
    if isinstance(section, SFTConfig):
        return sft_time(section, plan, timed["SFT step"], slice_)
    return rl_time(section, plan, timed, slice_)


def _advice(measured: list[ProgramCost], limits: list[Limit], slice_: Slice) -> list[str]:
    over = [m for m in measured if m.refused or m.total > slice_.kind.hbm]
    if not over:
        return []
    lines = [f"does not fit: {', '.join(m.name for m in over)}"]
    lines += [
        f"nearest that does, by {limit.how}: {limit.what} {limit.largest:,} instead of {limit.now:,}"
        for limit in limits
        if 0 < limit.largest < limit.now
    ]
    further = next_slice(measured, slice_)
    if further:
        lines.append(f"next larger slice with room, its state split further: --slice {further}")
    return lines
