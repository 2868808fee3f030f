"""Estimates a study without running it: its stages, their time, and their disk space.

Nothing is downloaded and no weights are read. The architecture comes from the model's folder or from
`plan.architecture`. The numbers of questions come from the recipe, from local files or from `benchmarks.SIZES`. HOW
says how each number is made.
"""

import dataclasses
import math
import tempfile
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import ml_collections
from etils import epath

from jaxreason.analysis.drift import DriftConfig
from jaxreason.config import parse
from jaxreason.evaluation.eval_settings import EvalConfig, find_benchmarks
from jaxreason.models.architecture import Model
from jaxreason.models.huggingface import ModelConfig
from jaxreason.plan import on_paper
from jaxreason.plan.on_paper import Machine, Spent
from jaxreason.plan.plan_settings import PlanConfig
from jaxreason.plan.recipe_plan import planned_model
from jaxreason.plan.slices import find_slice
from jaxreason.results.claims import DONE
from jaxreason.results.drift_files import drift_path
from jaxreason.results.score_files import is_finished
from jaxreason.results.study_files import is_complete
from jaxreason.sharding import MeshConfig
from jaxreason.studies import study as stages_of
from jaxreason.studies.arms import StudyConfig, arm_evaluation, arm_section
from jaxreason.studies.lineage import base_of_arm, origin_of, study_bases
from jaxreason.studies.question_set import QuestionsConfig, prepare_questions
from jaxreason.studies.recipe_sections import check_recipe
from jaxreason.studies.study import StudyStage
from jaxreason.studies.study_checks import check_measurements, check_training, named_arm
from jaxreason.studies.workload import (
    ALIKE,
    CHOICES,
    PROMPT_TOKENS,
    ExpectedReplies,
    StageWork,
    evaluation_work,
    expected_replies,
    is_here,
    prompt_tokens,
    training_steps,
    training_work,
    watched_work,
)

# Shares of a large matrix product's rate that a CPU reaches; between those of models with 0.5M and 135M parameters.
SHARE_TRAINING, SHARE_SAMPLING = 0.35, 0.1
GIB = 2**30

HOW = f"""How the numbers are made; all are estimates on paper:
- time: {{speed}}
- SFT: plan.examples (else the rows of local files) x epochs, of plan.example_tokens each (else half of sft.length)
- RL: replies of plan.reply_tokens (else half of the most), {100 * ALIKE:g} % of the groups alike where such are
  replaced
- evaluation: questions x samples, replies of plan.eval_tokens (else half of the most); likelihoods of {CHOICES} choices
- validations and the KL from the base, where training measures them: their replies and both models' passes
- prompts of {PROMPT_TOKENS} tokens, or an eighth of the longest sequence; plan.arms changes these lengths for an arm,
  or a base
- drift: both models read the replies of both, and to training prompts; index and report take minutes, not counted
- following a run: each checkpoint but the last is evaluated and compared
- disk: checkpoints kept at the end (one more while a new one is written), exported weights, and of samples and
  rollouts {on_paper.TOKEN_BYTES} bytes a token and {on_paper.LINE_BYTES:,} a line; what is downloaded is not counted"""
OF_SLICE = (
    "from computing and memory traffic of a program at once to one after the other, at the maker's speeds; links\n"
    "  between devices, compiling, loading and slots that run empty are left out, so expect more"
)
OF_MACHINE = (
    f"operations at {SHARE_TRAINING} (training) and {SHARE_SAMPLING} (else) of the rate of a large product, "
    "measured now"
)


@dataclass(frozen=True)
class StageRow:
    """A stage, its estimated work, and whether it is complete in the working directory."""

    name: str
    work: StageWork
    done: bool


@dataclass(frozen=True)
class _Study:
    """What all estimates of a study share."""

    config: ml_collections.ConfigDict
    arms: StudyConfig
    models: dict[str, Model]  # The models of all arms and bases.
    machine: Machine
    tensor: int

    def plan(self, name: str) -> PlanConfig:
        """Returns the recipe's `plan` section for an arm or a base."""
        return _plan(self.config, name)

    def replies(self, name: str) -> ExpectedReplies | None:
        """Returns the expected replies of the evaluation of an arm or a base."""
        section, arm = self.evaluation, self.arms.arms.get(name)
        section = section if arm is None else arm_evaluation(self.config, name, arm)
        return expected_replies(section, self.plan(name).eval_tokens)

    @property
    def evaluation(self) -> EvalConfig:
        """The recipe's `eval` section."""
        return parse(EvalConfig, self.config.eval, "config.eval")

    @property
    def path(self) -> str:
        """The path of the recipe's model."""
        return self.config.model.path


def describe_study(config: ml_collections.ConfigDict, workdir: epath.Path | None = None) -> str:
    """Returns the stages of a study with estimated time and disk space, as text.

    Args:
      config: the recipe.
      workdir: where the study runs or would run; stages that are complete there are marked as done.

    Raises:
      ValueError: the recipe does not fit, a local file cannot be read, or a model is neither on this machine nor
        described in the recipe's `plan` section.
    """
    check_recipe(config)
    check_measurements(config, None)
    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare_questions(_without_downloads(config), epath.Path(scratch))
        study = _study_of(prepared)
        for name in study.arms.arms:
            with named_arm(name):
                check_training(prepared, study.arms, name, study.models[name])
        stages = stages_of.stages(prepared, None, epath.Path(scratch))
        rows = [_row(study, stage, _there(stage, scratch, workdir)) for stage in stages]
        return "\n".join(
            [
                *(_head(study), _table(rows, study.machine)),
                *(*_too_large(study), *_downloads(study), _how(study)),
            ]
        )


def _without_downloads(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the recipe without a question set whose data would have to be downloaded; its size is then unknown."""
    if "questions" not in config:
        return config
    sources = parse(QuestionsConfig, config.questions, "config.questions").sources.values()
    if all(is_here(source.data) for source in sources):
        return config
    left = {name: value for name, value in config.items() if name != "questions"}
    return ml_collections.ConfigDict(left)


def _study_of(config: ml_collections.ConfigDict) -> _Study:
    arms = parse(StudyConfig, config.study, "config.study")
    model = parse(ModelConfig, config.model, "config.model")
    paths = {base.name: base.path for base in study_bases(arms, model.path)}
    paths |= {name: origin_of(arms, name, model.path) for name in arms.arms}
    found: dict[tuple[str, str], Model] = {}
    models = {}
    planned = {
        base.name: _first_arm(arms, model.path, base.name) for base in study_bases(arms, model.path)
    }
    for name, path in paths.items():
        plan = _plan(config, name)
        # For a base, take the architecture that the plan gives for an arm made from it.
        if not plan.architecture and name in planned:
            plan = _plan(config, planned[name])
        key = path, repr(plan.architecture)
        if key not in found:
            found[key] = planned_model(dataclasses.replace(model, path=path), plan)
        models[name] = found[key]
    slice_name = _plan(config, "").slice
    machine = Machine.of_slice(find_slice(slice_name)) if slice_name else this_machine()
    tensor = max(parse(MeshConfig, config.mesh, "config.mesh").tensor, 1)
    return _Study(config, arms, models, machine, tensor)


def _first_arm(arms: StudyConfig, path: str, base: str) -> str:
    return next(name for name in arms.arms if base_of_arm(arms, name, path).name == base)


def _plan(config: ml_collections.ConfigDict, name: str) -> PlanConfig:
    section = config.plan.to_dict() if "plan" in config else {}
    empty = {"architecture": {}, "examples": 0, "reply_tokens": 0}
    section = {**empty, **section, **section.get("arms", {}).get(name, {})}
    return parse(PlanConfig, section, f"config.plan.arms.{name}")


def this_machine() -> Machine:
    """Describes the devices of this machine by a product that is measured now.

    Memory traffic is part of SHARE_TRAINING and SHARE_SAMPLING.
    """
    rate = matmul_rate()
    speeds = rate * SHARE_TRAINING, rate * SHARE_SAMPLING, math.inf
    return Machine("this machine", 1, jax.device_count(), *speeds)


def matmul_rate() -> float:
    """Measures floating-point operations per second: 2,048 x 2,048 float32 products, all devices, best of three."""
    x = jnp.ones((2048, 2048))
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        product(x).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times) * jax.device_count()


def _there(stage: StudyStage, scratch: str, workdir: epath.Path | None) -> epath.Path:
    """Returns the folder of a stage in the working directory, or in the scratch folder if there is none."""
    return stage.folder if workdir is None else workdir / stage.folder.relative_to(scratch)


def _row(study: _Study, stage: StudyStage, folder: epath.Path) -> StageRow:
    name = stage.model
    if stage.kind == "train":
        return StageRow(stage.name, _training(study, name), (folder / DONE).exists())
    if stage.kind == "evaluate":
        return StageRow(stage.name, _evaluation(study, name), is_finished(folder))
    if stage.kind == "drift":
        metrics = parse(DriftConfig, study.config.drift, "config.drift").metrics
        done = all(drift_path(folder, metric).exists() for metric in metrics)
        return StageRow(stage.name, _drift(study, name), done)
    if stage.kind == "follow":
        return StageRow(stage.name, _followed(study, name), is_complete(folder))
    return StageRow(stage.name, StageWork(Spent(), 0.0), False)


def _evaluation(study: _Study, name: str) -> StageWork:
    machine = study.models[name], study.machine, study.tensor
    return evaluation_work(study.replies(name), study.evaluation.sampler.slots, *machine)


def _followed(study: _Study, name: str) -> StageWork:
    """Estimates evaluation and drift of all checkpoints but the last, which the arm's own stages measure."""
    arm = study.arms.arms[name]
    section = arm_section(study.config, name, arm)
    steps = training_steps(section, study.plan(name))
    parts = [_evaluation(study, name), *([_drift(study, name)] if arm.drift else [])]
    if steps is None or any(part.spent is None for part in parts):
        return StageWork(None, 0.0)
    times = math.ceil(steps / section.checkpoint_every) - 1 if section.checkpoint_every else 0
    spent = sum((part.spent for part in parts), Spent())
    return StageWork(times * spent, times * sum(p.disk for p in parts))


def _training(study: _Study, name: str) -> StageWork:
    section = arm_section(study.config, name, study.arms.arms[name])
    about = study.plan(name), study.models[name], study.machine, study.tensor
    base = parse(ModelConfig, study.config.model, "config.model")
    work = training_work(section, base, *about)
    steps = training_steps(section, study.plan(name))
    if work.spent is None or steps is None:
        return work
    evaluation = arm_evaluation(study.config, name, study.arms.arms[name])
    plan, *machine = about
    watched = watched_work(section, steps, evaluation, plan.eval_tokens, *machine)
    return StageWork(None if watched is None else work.spent + watched, work.disk)


def _drift(study: _Study, name: str) -> StageWork:
    """Estimates drift: both models read what each of them wrote."""
    section = parse(DriftConfig, study.config.drift, "config.drift")
    texts = section.texts_per_benchmark * len(find_benchmarks(study.evaluation))
    spent = Spent()
    base = base_of_arm(study.arms, name, study.path).name
    for who in (base, name):
        replies = study.replies(who)
        if replies is None:
            return StageWork(None, 0.0)
        length = replies.prompt + replies.tokens
        length = min(section.max_length or length, length)
        for model in (study.models[base], study.models[name]):
            spent += on_paper.read(model, study.machine, texts, length)
    if study.arms.arms[name].method != "given":
        sources = {"base": base, "tuned": name}
        for who in section.training_replies:
            spent += _training_prompts(study, section, sources[who], (base, name))
    return StageWork(spent, 0.0)


def _training_prompts(
    study: _Study, section: DriftConfig, who: str, readers: tuple[str, str]
) -> Spent:
    """Estimates the replies of one model to an arm's training prompts, and both models reading them.

    Other arms may share these replies; that is not counted.
    """
    number, reply = section.training_prompts, section.training_tokens / 2
    prompt = prompt_tokens(study.evaluation.sampler.max_length)
    if not number:
        return Spent()
    machine = study.machine, study.tensor, min(number, study.evaluation.sampler.slots)
    spent = on_paper.write(study.models[who], *machine, number, prompt, reply)
    for reader in readers:
        spent += on_paper.read(study.models[reader], study.machine, number, prompt + reply)
    return spent


def _head(study: _Study) -> str:
    bases = study_bases(study.arms, study.path)
    sizes = {base.path: on_paper.num_parameters(study.models[base.name]) for base in bases}
    said = [f"{path} ({size:,} parameters)" for path, size in sizes.items()]
    return f"{', '.join(said)} on {study.machine.name}:"


def _table(rows: list[StageRow], machine: Machine) -> str:
    lines = [_line(row, machine) for row in rows]
    for title, members in (("all", rows), ("left", [row for row in rows if not row.done])):
        known = [row.work.spent for row in members if row.work.spent is not None]
        whole = StageWork(sum(known, Spent()), sum(row.work.disk for row in members))
        name = title if len(known) == len(members) else f"{title} that is known"
        if members != rows or title == "all":
            lines.append(_line(StageRow(name, whole, False), machine))
    unit = ["hours", "chip-hours"] if _is_slice(machine) else ["minutes"]
    lines.insert(0, ["stage", *unit, "disk GiB", ""])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        texts.append("  ".join([line[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(texts)


def _line(row: StageRow, machine: Machine) -> list[str]:
    times = (3600, 3600 / machine.chips) if _is_slice(machine) else (60,)
    spans = [_span(row.work.spent, seconds) for seconds in times]
    return [row.name, *spans, f"{row.work.disk / GIB:,.3f}", "done" if row.done else ""]


def _span(spent: Spent | None, unit: float) -> str:
    if spent is None:
        return "not known"
    low, high = (f"{seconds / unit:,.1f}" for seconds in (spent.best, spent.worst))
    return low if low == high else f"{low} to {high}"


def _is_slice(machine: Machine) -> bool:
    return math.isfinite(machine.memory)


def _too_large(study: _Study) -> list[str]:
    """Lists the arms whose training state alone needs more memory than all devices have."""
    found = []
    for name, arm in study.arms.arms.items():
        if arm.method == "given":
            continue
        model, section = study.models[name], arm_section(study.config, name, arm)
        gradients = 4 * on_paper.num_parameters(model)
        state = on_paper.checkpoint_bytes(model, section.optimizer) + gradients
        share, room = state / study.machine.devices, study.machine.room
        if share > room:
            found.append(f"- {name}: {share / GIB:,.1f} GiB a device, of {room / GIB:,.1f}")
    title = "DOES NOT FIT: parameters, gradients and the optimizer's state alone take"
    return [title, *found] if found else []


def _downloads(study: _Study) -> list[str]:
    """Lists the models and datasets that are not on this machine."""
    arms = study.arms.arms
    paths = {base.path: base.name for base in study_bases(study.arms, study.path)}
    paths |= {arm.path: name for name, arm in arms.items() if arm.method == "given"}
    found = []
    for path, name in paths.items():
        if path and not epath.Path(path).expanduser().is_dir():
            size = on_paper.exported_bytes(study.models[name], "bfloat16") / GIB
            found.append(f"{path} (a model: {size:,.1f} GiB in bfloat16)")
    for name, arm in study.arms.arms.items():
        if arm.method != "given":
            section = arm_section(study.config, name, arm)
            found += [d.path for d in section.datasets.values() if not is_here(d)]
    if study.evaluation.source == "hub":
        names = [name for name in study.evaluation.benchmarks if name not in study.evaluation.own]
        found += [f"{name} (a benchmark)" for name in names]
    if not found:
        return []
    return [
        "Not in a folder here, so downloaded where the hub's cache lacks it:",
        *(f"- {x}" for x in dict.fromkeys(found)),
    ]


def _how(study: _Study) -> str:
    return HOW.format(speed=OF_SLICE if _is_slice(study.machine) else OF_MACHINE)
