"""The verbs that run a stage on a model: each gets the recipe's sections and says at the end what came out."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxreason import chat, convert, cross_sample, dry_run, follow, study
from jaxreason.analysis import drift
from jaxreason.config import ConfigError
from jaxreason.contamination import decontaminated
from jaxreason.cross_sample import CrossSampleConfig
from jaxreason.distill import distiller
from jaxreason.distill.distill_settings import DistillConfig
from jaxreason.errors import UserError
from jaxreason.evaluation import evaluator, harness_import, regrade, responses, settings, transfer
from jaxreason.evaluation.validator import make_validator
from jaxreason.joined_studies import join_studies
from jaxreason.plan.recipe import plan_recipe
from jaxreason.plan.search import search_recipe
from jaxreason.plan.search_table import format_search
from jaxreason.plan.search_table import to_json as search_to_json
from jaxreason.plan.slices import Slice, find_slice
from jaxreason.plan.table import format_plan
from jaxreason.question_set import QUESTIONS, describe, read_report
from jaxreason.questions import prepare
from jaxreason.report import build as report
from jaxreason.results.evaluation_folders import evaluation_folders
from jaxreason.results.files import read_object, write_json
from jaxreason.results.score_files import EVALUATION, is_finished
from jaxreason.results.transfer_file import transfer_path
from jaxreason.rl import loop as rl
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.training import sft
from jaxreason.training.sft_recipe import SFTConfig
from jaxreason.training_texts import training_units
from jaxreason.validation import ValidationConfig, Validator
from jaxreason.verbs import outcome
from jaxreason.verbs.call import Call
from jaxreason.verbs.setup import on_mesh, show_messages, without_devices


def run_study(call: Call) -> None:
    """All stages of a study, or what they would take."""
    call.require("mesh", "model", "study", "eval", "drift", "transfer", "report")
    if call.flags["dry-run"]:
        print(dry_run.describe_study(call.config, call.workdir))
        return
    with on_mesh(call, "study") as mesh:
        study.run_study(call.config, mesh, call.workdir, call.tell)


def run_sft(call: Call) -> None:
    """Fine-tuning on worked answers."""
    with _in_workdir(call, "sft") as (mesh, call):
        section = decontaminated(call.config, call.section("sft", SFTConfig), call.workdir)
        asks = _validator(call, "sft", section.validation, mesh)
        sft.run_sft(section, call.model, mesh, call.workdir, call.config.seed, asks)
        call.tell(outcome.training(call.workdir))


def run_rl(call: Call) -> None:
    """Training on verified rewards."""
    with _in_workdir(call, "rl") as (mesh, call):
        section = decontaminated(call.config, call.section("rl", rl.RLConfig), call.workdir)
        asks = _validator(call, "rl", section.validation, mesh)
        rl.run_rl(section, call.model, mesh, call.workdir, call.config.seed, asks)
        call.tell(outcome.training(call.workdir))


def run_distill(call: Call) -> None:
    """A teacher's answers as a dataset."""
    with _in_workdir(call, "distill") as (mesh, call):
        section = call.section("distill", DistillConfig)
        distiller.run_distill(section, call.model, mesh, call.workdir, call.config.seed)
        call.tell(outcome.distillation(call.workdir))


def _validator(call: Call, stage: str, how: ValidationConfig, mesh: Mesh) -> Validator | None:
    config = call.section("eval", settings.EvalConfig) if "eval" in call.config else None
    return make_validator(config, how, stage, call.model, mesh, call.config.seed)


@contextlib.contextmanager
def _in_workdir(call: Call, name: str) -> Iterator[tuple[Mesh, Call]]:
    """The mesh, and the call with its question files written, in a working directory that no other run uses."""
    with on_mesh(call, name) as mesh, study.locked(call.workdir, call.verb):
        yield mesh, _prepared(call)


def _prepared(call: Call) -> Call:
    return dataclasses.replace(call, config=prepare(call.config, call.workdir))


def run_questions(call: Call) -> None:
    """The questions of a recipe, of all their sources, without those that occur twice."""
    call.require("questions")
    without_devices(call)
    with study.locked(call.workdir, call.verb):
        prepare(call.config, call.workdir)
        folder = call.workdir / "questions"
        call.tell(describe(read_report(folder)))
        call.tell(f"wrote {folder / QUESTIONS}")


def run_eval(call: Call) -> None:
    """Sampling and grading the benchmarks: of one model, or of every checkpoint of a run."""
    if call.flags["follow"]:
        return _follow(call)
    if call.flags["best"]:
        raise ConfigError("--best is for --follow RUN: it chooses among the steps of a run.")
    with _in_workdir(call, "eval") as (mesh, call):
        section = call.section("eval", settings.EvalConfig)
        evaluator.run_eval(section, call.model, mesh, call.workdir, call.config.seed)
        call.tell(outcome.scores(call.workdir / EVALUATION))


def run_grade(call: Call) -> None:
    """Grading samples again, or completions that came from anywhere."""
    without_devices(call)
    with study.locked(call.workdir, call.verb):
        call = _prepared(call)
        section = call.section("eval", settings.EvalConfig)
        if call.flags["responses"]:
            folders = [_grade_responses(call, section)]
        elif call.flags["lm-eval"]:
            folders = [_import_harness(call, section)]
        else:
            folders = evaluation_folders(call.workdir)
            regrade.run_grade(section, folders)
        for folder in folders:
            call.tell(outcome.scores(folder))


def _grade_responses(call: Call, section: settings.EvalConfig) -> epath.Path:
    flags, folder = call.flags, call.workdir / EVALUATION
    if not flags["benchmark"]:
        raise ConfigError("--responses needs --benchmark NAME: which benchmark they answer.")
    variants = (flags["variant"],) if flags["variant"] else ()
    fields = _field_map(flags["fields"] or "")
    responses.run_responses(
        section, flags["responses"], flags["benchmark"], variants, fields, folder
    )
    return folder


def _import_harness(call: Call, section: settings.EvalConfig) -> epath.Path:
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
            call.section("eval", settings.EvalConfig),
            call.section("transfer", transfer.TransferConfig),
            call.section("drift", drift.DriftConfig),
            call.config.seed,
            call.flags["best"],
        )
        follow.run_follow(config, call.flags["follow"], mesh, call.workdir)
        call.tell(outcome.trajectory(call.workdir))


def run_export(call: Call) -> None:
    """Finished evaluations as logs of Inspect."""
    without_devices(call)
    with _extra("inspect", "inspect_ai"):
        from jaxreason.evaluation.inspect_log import write_logs
    folders = evaluation_folders(call.workdir)
    if not any(map(is_finished, folders)):
        raise UserError(
            f"{call.workdir}: no evaluation has finished; `jaxreason eval` continues it."
        )
    for folder in folders:
        target = epath.Path(call.flags["target"]) / folder.parent.relative_to(call.workdir)
        if is_finished(folder):
            call.tell(f"{len(write_logs(folder, target))} logs: {target}")
        else:
            call.tell(f"{folder}: has not finished, so it is left out")


def run_transfer(call: Call) -> None:
    """The transferability index."""
    section = call.section("transfer", transfer.TransferConfig)
    without_devices(call)
    call.tell(transfer.format_table(transfer.run_transfer(section, call.workdir)))
    call.tell(f"wrote {transfer_path(call.workdir)}")


def run_drift(call: Call) -> None:
    """A tuned model against its base."""
    call.require("mesh", "model", "drift")
    section = call.section("drift", drift.DriftConfig)
    tuned = dataclasses.replace(call.model, path=call.flags["tuned"])
    folders = [epath.Path(call.flags[f"{name}-evaluation"]) for name in ("base", "tuned")]
    run = epath.Path(tuned.path).parent  # of <run>/model
    with on_mesh(call) as mesh, study.locked(call.workdir, call.verb):
        also = functools.partial(training_units, section, run, call.workdir, mesh=mesh)
        drift.run_drift(section, call.model, tuned, mesh, call.workdir, *folders, also=also)
        call.tell(outcome.drift(call.workdir))


def run_cross_sample(call: Call) -> None:
    """Replies of each of two models with choices of the other."""
    call.require("eval", "cross_sample")
    with _in_workdir(call, "cross_sample") as (mesh, call):
        section = call.section("cross_sample", CrossSampleConfig)
        asked = call.section("eval", settings.EvalConfig)
        tuned = dataclasses.replace(call.model, path=call.flags["tuned"])
        cross_sample.run_cross_sample(
            section, asked, call.model, tuned, mesh, call.workdir, call.config.seed
        )
        call.tell(outcome.cross_sampling(call.workdir))


def run_report(call: Call) -> None:
    """The report of a study, or of several as one."""
    folders = [epath.Path(path) for path in call.paths]
    call = _with_recipe(call, folders[0] if folders else call.workdir)
    section = call.section("report", report.ReportConfig)
    without_devices(call)
    if folders:
        index = call.section("transfer", transfer.TransferConfig)
        join_studies(folders, call.workdir)
        transfer.run_study_transfer(index, call.workdir)
    report.run_report(call.workdir, section)
    call.tell(report.format_summary(report.read_summary(call.workdir)))
    call.tell(f"report: {call.workdir / 'report' / 'report.html'}")


def _with_recipe(call: Call, folder: epath.Path) -> Call:
    """The call with the recipe of a study's folder, where it has none of its own."""
    if call.config is not None:
        return call
    path = folder / "config.json"
    if not path.exists():
        raise ConfigError(f"{path}: not found; give the recipe with --config.")
    return dataclasses.replace(call, config=ConfigDict(read_object(path, {})))


def run_convert(call: Call) -> None:
    """A checkpoint as a Hugging Face folder."""
    step = call.flags["step"]
    if step is not None and not step.isdecimal():
        raise ConfigError(f"--step={step}: expected the number of a step.")
    step = None if step is None else int(step)
    with on_mesh(call) as mesh:
        convert.run_convert(call.model, mesh, call.flags["source"], call.flags["target"], step)


def run_chat(call: Call) -> None:
    """A conversation in the terminal."""
    section = call.section("chat", chat.ChatConfig)
    with on_mesh(call) as mesh:
        chat.run_chat(section, call.model, mesh, call.config.seed)


def run_serve(call: Call) -> None:
    """The HTTP endpoint."""
    section = call.section("serve", ServeConfig)
    with _extra("serve", "fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn"):
        from jaxreason.serve import server
    with on_mesh(call) as mesh:
        server.run_serve(section, call.model, mesh)


@contextlib.contextmanager
def _extra(extra: str, *libraries: str) -> Iterator[None]:
    """An import of one of these libraries that is not there names the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in libraries:
            raise
        raise ConfigError(
            f"{name} is not installed: pip install 'jaxreason[{extra}]' (from a checkout: -e '.[{extra}]')"
        ) from None


def run_plan(call: Call) -> None:
    """What a recipe needs."""
    slice_ = find_slice(call.flags["slice"])
    show_messages(call)
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
