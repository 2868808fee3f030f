"""The verbs that run a stage or work on weights: each one reads its sections and flags and prints its result."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

from etils import epath
from jax.sharding import Mesh

from jaxreason.analysis import drift, surgery, weight_folders
from jaxreason.config import ConfigError, whole_number
from jaxreason.distill import distiller
from jaxreason.distill.distill_config import DistillConfig
from jaxreason.evaluation import (
    eval_settings,
    evaluator,
    harness_import,
    regrade,
    responses,
    transfer,
)
from jaxreason.evaluation.validator import make_validator
from jaxreason.plan.devices import slice_devices
from jaxreason.plan.recipe_plan import plan_recipe
from jaxreason.plan.search import search_recipe
from jaxreason.plan.search_table import format_search
from jaxreason.plan.search_table import to_json as search_to_json
from jaxreason.plan.slices import Slice, find_slice
from jaxreason.plan.table import format_plan
from jaxreason.results.atomic_files import write_json
from jaxreason.results.score_files import EVALUATION
from jaxreason.results.study_files import evaluation_folders
from jaxreason.rl import loop as rl
from jaxreason.runtime.preemption import Interrupt
from jaxreason.studies import cross_sample, dry_run, follow, study
from jaxreason.studies.contamination import decontaminated
from jaxreason.studies.cross_sample import CrossSampleConfig
from jaxreason.studies.question_set import (
    QUESTIONS,
    describe_questions,
    prepare_questions,
    read_report,
)
from jaxreason.studies.training_texts import training_units
from jaxreason.training import convert, sft
from jaxreason.training.sft_config import SFTConfig
from jaxreason.validation import ValidationConfig, Validator
from jaxreason.verbs import outcome
from jaxreason.verbs.call import Call
from jaxreason.verbs.device_setup import find_devices, log_messages, on_mesh, without_devices

DTYPES = ("float32", "bfloat16", "float16")  # The dtypes that `surgery` can write.


def study_verb(call: Call) -> None:
    """Runs all stages of a study, or with --dry-run estimates what they would take."""
    call.require("mesh", "model", "study", "eval", "drift", "transfer", "report")
    if call.flags["dry-run"]:
        find_devices()
        print(dry_run.describe_study(call.config, call.workdir))
        return
    with on_mesh(call, "study") as mesh:
        study.run_study(call.config, mesh, call.workdir, call.tell)


def sft_verb(call: Call) -> None:
    """Fine-tunes a model on worked answers."""
    with _in_workdir(call, "sft") as (mesh, call):
        section = decontaminated(call.config, call.section("sft", SFTConfig), call.workdir)
        asks = _validator(call, "sft", section.validation, mesh)
        sft.run_sft(section, call.model, mesh, call.workdir, call.config.seed, asks)
        call.tell(outcome.training(call.workdir))


def rl_verb(call: Call) -> None:
    """Trains a model on verified rewards."""
    with _in_workdir(call, "rl") as (mesh, call):
        section = decontaminated(call.config, call.section("rl", rl.RLConfig), call.workdir)
        asks = _validator(call, "rl", section.validation, mesh)
        rl.run_rl(section, call.model, mesh, call.workdir, call.config.seed, asks)
        call.tell(outcome.training(call.workdir))


def distill_verb(call: Call) -> None:
    """Makes a dataset of a teacher's answers."""
    with _in_workdir(call, "distill") as (mesh, call):
        section = call.section("distill", DistillConfig)
        distiller.run_distill(section, call.model, mesh, call.workdir, call.config.seed)
        call.tell(outcome.distillation(call.workdir))


def _validator(call: Call, stage: str, how: ValidationConfig, mesh: Mesh) -> Validator | None:
    config = call.section("eval", eval_settings.EvalConfig) if "eval" in call.config else None
    return make_validator(config, how, stage, call.model, mesh, call.config.seed)


@contextlib.contextmanager
def _in_workdir(call: Call, name: str) -> Iterator[tuple[Mesh, Call]]:
    """Sets the mesh and locks the working directory.

    Yields the mesh, and the call with its question files written and their paths in the recipe.
    """
    with on_mesh(call, name) as mesh, study.locked_by_all(call.workdir, call.verb):
        yield mesh, _prepared(call)


def _prepared(call: Call) -> Call:
    return dataclasses.replace(call, config=prepare_questions(call.config, call.workdir))


def questions_verb(call: Call) -> None:
    """Writes the training questions of all of the recipe's sources, each question once."""
    call.require("questions")
    without_devices(call)
    with study.locked_by_all(call.workdir, call.verb):
        prepare_questions(call.config, call.workdir)
        folder = call.workdir / "questions"
        call.tell(describe_questions(read_report(folder)))
        call.tell(f"wrote {folder / QUESTIONS}")


def eval_verb(call: Call) -> None:
    """Samples and grades the benchmarks, for one model or for every checkpoint of a run."""
    if call.flags["follow"]:
        return _follow(call)
    if call.flags["best"]:
        raise ConfigError("--best is for --follow RUN: it chooses among the steps of a run.")
    with _in_workdir(call, "eval") as (mesh, call):
        section = call.section("eval", eval_settings.EvalConfig)
        evaluator.run_eval(section, call.model, mesh, call.workdir, call.config.seed)
        call.tell(outcome.score_table(call.workdir / EVALUATION))


def grade_verb(call: Call) -> None:
    """Grades samples again, or grades completions from elsewhere."""
    _check_grade_flags(call.flags)
    without_devices(call)
    with study.locked_by_all(call.workdir, call.verb):
        call = _prepared(call)
        section = call.section("eval", eval_settings.EvalConfig)
        if call.flags["responses"]:
            folders = [_grade_responses(call, section)]
        elif call.flags["lm-eval"]:
            folders = [_import_harness(call, section)]
        else:
            folders = evaluation_folders(call.workdir)
            regrade.run_grade(section, folders)
        for folder in folders:
            call.tell(outcome.score_table(folder))


def _check_grade_flags(flags: dict[str, Any]) -> None:
    """Refuses flags that nothing would read, since the user expects something else than what would be graded."""
    if flags["responses"] and flags["lm-eval"]:
        raise ConfigError("--responses and --lm-eval: one of them at a time.")
    files = "responses", "FILE"
    needs = {"benchmark": files, "variant": files, "fields": files, "group": ("lm-eval", "DIR")}
    for name, (other, value) in needs.items():
        if flags[name] and not flags[other]:
            raise ConfigError(f"--{name} is for --{other} {value}, which is not given.")


def _grade_responses(call: Call, section: eval_settings.EvalConfig) -> epath.Path:
    flags, folder = call.flags, call.workdir / EVALUATION
    if not flags["benchmark"]:
        raise ConfigError("--responses needs --benchmark NAME: which benchmark they answer.")
    variants = (flags["variant"],) if flags["variant"] else ()
    fields = _field_map(flags["fields"] or "")
    responses.run_responses(
        section, flags["responses"], flags["benchmark"], variants, fields, folder
    )
    return folder


def _import_harness(call: Call, section: eval_settings.EvalConfig) -> epath.Path:
    flags, folder = call.flags, call.workdir / EVALUATION
    if not flags["group"]:
        raise ConfigError("--lm-eval needs --group NAME: which benchmarks its tasks belong to.")
    how = flags["lm-eval"], flags["group"], flags["decoding"]
    left_out = harness_import.run_import(section, *how, folder)
    if left_out:
        call.tell(f"left out, since no metric is a mean over documents: {', '.join(left_out)}")
    return folder


def _field_map(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not equals or not column for _, equals, column in pairs):
        raise ConfigError(f"--fields={text}: expected NAME=COLUMN,...: response=output,id=key.")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _follow(call: Call) -> None:
    call.require("eval", "transfer", "drift")
    with _in_workdir(call, "eval") as (mesh, call):
        config = follow.FollowConfig(
            call.model,
            call.section("eval", eval_settings.EvalConfig),
            call.section("transfer", transfer.TransferConfig),
            call.section("drift", drift.DriftConfig),
            call.config.seed,
            call.flags["best"],
        )
        follow.run_follow(config, call.flags["follow"], mesh, call.workdir)
        call.tell(outcome.trajectory(call.workdir))


def drift_verb(call: Call) -> None:
    """Compares a tuned model with its base."""
    call.require("mesh", "model", "drift")
    section = call.section("drift", drift.DriftConfig)
    tuned = dataclasses.replace(call.model, path=call.flags["tuned"])
    folders = [epath.Path(call.flags[f"{name}-evaluation"]) for name in ("base", "tuned")]
    run = epath.Path(tuned.path).parent  # The model's folder is <run>/model.
    with on_mesh(call) as mesh, study.locked_by_all(call.workdir, call.verb):
        also = functools.partial(training_units, section, run, call.workdir, mesh=mesh)
        drift.run_drift(section, call.model, tuned, mesh, call.workdir, *folders, also=also)
        call.tell(outcome.drift(call.workdir))


def cross_sample_verb(call: Call) -> None:
    """Lets each of two models reply with some choices of the other."""
    call.require("eval", "cross_sample")
    with _in_workdir(call, "cross_sample") as (mesh, call):
        section = call.section("cross_sample", CrossSampleConfig)
        asked = call.section("eval", eval_settings.EvalConfig)
        tuned = dataclasses.replace(call.model, path=call.flags["tuned"])
        cross_sample.run_cross_sample(
            section, asked, call.model, tuned, mesh, call.workdir, call.config.seed
        )
        call.tell(outcome.cross_sampling(call.workdir))


def convert_verb(call: Call) -> None:
    """Writes a checkpoint as a Hugging Face folder."""
    word = call.flags["step"]
    step = None if word is None else whole_number(word)
    if word is not None and step is None:
        raise ConfigError(f"--step={word}: expected the number of a step.")
    with on_mesh(call) as mesh:
        convert.run_convert(call.model, mesh, call.flags["source"], call.flags["target"], step)


def plan_verb(call: Call) -> None:
    """Shows what a recipe needs on a slice."""
    slice_ = find_slice(call.flags["slice"])
    slice_devices(slice_)  # First of all: once JAX has started, its platforms are fixed.
    log_messages(call)
    if call.flags["search"]:
        return _search(call, slice_)
    plan = plan_recipe(call.config, slice_, call.flags["fit"], call.flags["remat"])
    print(format_plan(plan))
    if call.workdir is not None:
        write_json(call.workdir / "plan.json", plan.to_json())
        call.tell(f"wrote {call.workdir / 'plan.json'}")


def _search(call: Call, slice_: Slice) -> None:
    found = search_recipe(call.config, slice_)
    print(format_search(found, slice_))
    if call.workdir is not None:
        write_json(call.workdir / "search.json", search_to_json(found, slice_))
        call.tell(f"wrote {call.workdir / 'search.json'}")


def weights_verb(call: Call) -> None:
    """Compares model folders with a base, or the runs of a study with their bases."""
    base, tuned = (call.flags[name] for name in ("base", "tuned"))
    if bool(base) != bool(tuned):
        raise ConfigError("--base and --tuned go together; without both, --workdir is a study's.")
    names = [name.strip() for name in (tuned or "").split(",") if name.strip()]
    if tuned and not names:
        raise ConfigError(f"--tuned={tuned}: expected one or more models, with commas between.")
    log_messages(call)
    with study.locked_by_all(call.workdir, call.verb), Interrupt() as interrupt:
        if base:
            found = base, names, call.workdir, interrupt.check
            folders = weight_folders.compare_folders(*found)
        else:
            folders = weight_folders.compare_study(call.workdir, interrupt.check)
        for folder in folders:
            call.tell(outcome.weights(folder))
        call.tell(outcome.overlaps(call.workdir))


def surgery_verb(call: Call) -> None:
    """Writes a model folder that is made from two others."""
    flags, dtype = call.flags, call.flags["dtype"]
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype={dtype}: expected one of {', '.join(DTYPES)}.")
    words = (flags[name] for name in ("change", "amount", "layers", "kinds", "rest"))
    how = surgery.parse_surgery(*words)
    log_messages(call)
    with Interrupt() as interrupt:
        between = lambda: interrupt.check("No folder was written.")  # noqa: E731
        names = flags["base"], flags["tuned"], flags["target"]
        surgery.run_surgery(*names, how, dtype, between)
    call.tell(f"wrote {flags['target']}")
