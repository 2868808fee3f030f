"""A study: bases, their tuned twins, one evaluation for all, drift, index and report, as a list of stages in order.

Stages communicate through files. A stage that is complete is skipped and one that is not is continued, so the same
command continues after a kill. An arm is trained by SFT or RL, or it is an existing checkpoint that is only measured.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import jax
import ml_collections
from etils import epath

from jaxreason.analysis import drift
from jaxreason.config import ConfigError, parse, to_dict
from jaxreason.device_state import device_state
from jaxreason.errors import USERS_FAULT, UserError
from jaxreason.evaluation import eval_settings, evaluator, transfer
from jaxreason.evaluation.validator import make_validator
from jaxreason.models.huggingface import ModelConfig, resolve
from jaxreason.models.safetensors_reader import first_not_finite
from jaxreason.report.report_config import ReportConfig
from jaxreason.results import locks, run_status
from jaxreason.results.atomic_files import absolute
from jaxreason.results.lease import LeaseError
from jaxreason.results.score_files import EVALUATION
from jaxreason.results.study_files import TRAJECTORY_FOLDER, run_folder
from jaxreason.rl import loop as rl
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.ending import end_job
from jaxreason.runtime.preemption import Interrupt
from jaxreason.studies.arms import (
    StudyConfig,
    all_seeds,
    arm_evaluation,
    arm_section,
    evaluation_asked,
    seeds_of,
)
from jaxreason.studies.contamination import decontaminated
from jaxreason.studies.followed_arms import follow_arm
from jaxreason.studies.lineage import (
    arms_in_order,
    asked_of_bases,
    base_of_arm,
    model_of,
    start_of,
    study_bases,
)
from jaxreason.studies.manifest import write_study
from jaxreason.studies.question_set import prepare_questions
from jaxreason.studies.study_checks import check_stages
from jaxreason.studies.training_texts import training_units
from jaxreason.training import sft


@dataclass(frozen=True)
class StudyStage:
    """One stage of a study.

    Attributes:
      kind: kind of the stage.
      model: the arm or the base (its folder) that it is about; "" for the study as a whole.
      name: its name for readers.
      folder: the folder that it writes into.
      run: runs it, or continues it.
      path: of an evaluation, the model that is asked.
    """

    kind: Literal["train", "evaluate", "drift", "follow", "transfer", "report"]
    model: str
    name: str
    folder: epath.Path
    run: Callable[[], None]
    path: str = ""


@contextlib.contextmanager
def locked_by_all(workdir: epath.Path, verb: str) -> Iterator[None]:
    """Holds `results.locks.locked` on process 0 for all processes. Every process must enter it; all are refused alike.

    On a bucket all processes end as soon as process 0 finds that another run has taken over. While the lock is held,
    the working directory's `status.json` says what the run does and how it ends.
    """
    lost = functools.partial(end_job, USERS_FAULT)
    with contextlib.ExitStack() as held:
        on_process_zero(lambda: held.enter_context(locks.locked(workdir, lost)))
        if jax.process_index() == 0:
            held.enter_context(run_status.keep_status(workdir, verb, device_state))
        yield


def _tell(text: str) -> None:
    if jax.process_index() == 0:
        print(text, flush=True)


def run_study(
    config: ml_collections.ConfigDict,
    mesh: jax.sharding.Mesh,
    workdir: epath.Path,
    tell: Callable[[str], None] = _tell,
) -> None:
    """Runs or continues every stage of the study in `workdir`, and prints the comparison at the end.

    Each stage is claimed only by what it reads itself, so the study may gain seeds, arms and benchmarks.

    Args:
      config: the recipe.
      mesh: where to run.
      workdir: folder of the study.
      tell: gets the name of each stage when it begins, and the result at the end; by default process 0 prints them.

    Raises:
      UserError: a stage cannot be done as the recipe says; the results of the other stages stay.
      SystemExit: with code 143, after a signal.
    """
    with locked_by_all(workdir, "study"), Interrupt() as interrupt:
        prepared = prepare_questions(config, workdir)
        check_stages(prepared, mesh)
        write_study(prepared, config, workdir)
        plan = stages(prepared, mesh, workdir)
        for number, stage in enumerate(plan, start=1):
            interrupt.check(f"{number - 1} of {len(plan)} stages are complete.")
            tell(f"stage {number}/{len(plan)} {stage.name}")
            run_status.at_stage(stage.name, number, len(plan))
            _run(stage, f"stage {number} of {len(plan)}")
        tell(_summary(workdir))
        tell(f"report: {workdir / 'report' / 'report.html'}")


def _run(stage: StudyStage, said: str) -> None:
    """Runs a stage. If it fails, the error names the stage, and for weights that are not finite the tensor.

    Raises:
      UserError: the stage's error, of the same class.
      LeaseError: another run has taken over, which is no fault of the stage.
    """
    try:
        stage.run()
    except LeaseError:
        raise
    except UserError as error:
        bad = _not_finite(stage) if "non-finite" in str(error) else ""
        kind = ConfigError if isinstance(error, ConfigError) else UserError
        text = f"{stage.name} ({said}): {error}{bad}"
        raise kind(f"{text}\nWhat was done stays; the same command goes on from here.") from error


def _not_finite(stage: StudyStage) -> str:
    found = on_process_zero(lambda: first_not_finite(resolve(stage.path)) if stage.path else "")
    return f" {found}." if found else ""


def stages(
    config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh, workdir: epath.Path
) -> list[StudyStage]:
    """Returns the study's stages in the order in which they run."""
    study = parse(StudyConfig, config.study, "config.study")
    model = _measured(parse(ModelConfig, config.model, "config.model"), study)

    def evaluate(
        name: str, path: str, folder: epath.Path, how: eval_settings.EvalConfig
    ) -> StudyStage:
        asked = dataclasses.replace(model, path=path)
        run = lambda: evaluator.run_eval(how, asked, mesh, folder, config.seed)  # noqa: E731
        said = f"evaluate {folder.relative_to(workdir)}"
        return StudyStage("evaluate", name, said, folder / EVALUATION, run, path)

    plan = []
    for base in study_bases(study, model.path):
        arm, asked = asked_of_bases(study, model.path)[base.name]
        how = evaluation_asked(config, asked, f"config.study.arms.{arm}.base_asked")
        plan.append(evaluate(base.name, base.path, workdir / base.name, how))
    order = arms_in_order(study, _reads(config, study, workdir))
    for seed in all_seeds(study):
        for name in order:
            if seed in seeds_of(study, study.arms[name]):
                plan += _arm_stages(config, mesh, workdir, study, name, seed, evaluate)
    made = {"transfer": (workdir, _transfer), "report": (workdir / "report", _report)}
    for name, (folder, run) in made.items():
        plan.append(StudyStage(name, "", name, folder, functools.partial(run, config, workdir)))
    return plan


def _reads(config, study: StudyConfig, workdir: epath.Path) -> dict[str, list[str]]:
    """Returns for each trained arm the other arms whose files its settings name, as a teacher or as data."""
    found = {}
    for name, arm in study.arms.items():
        if arm.method != "given":
            text = json.dumps(to_dict(arm_section(config, name, arm)), ensure_ascii=False)
            others = (other for other in study.arms if other != name)
            found[name] = [other for other in others if f"{absolute(workdir)}/{other}/" in text]
    return found


def _measured(model: ModelConfig, study: StudyConfig) -> ModelConfig:
    return dataclasses.replace(model, param_dtype=study.measured_dtype or model.param_dtype)


def _arm_stages(
    config, mesh, workdir, study: StudyConfig, name, seed, evaluate
) -> list[StudyStage]:
    arm, folder = study.arms[name], workdir / run_folder(name, seed)
    model = parse(ModelConfig, config.model, "config.model")
    compared = base_of_arm(study, name, model.path)
    start = dataclasses.replace(model, path=start_of(study, name, model.path, seed, workdir))
    paths = compared.path, model_of(study, name, seed, workdir)
    base, tuned = (dataclasses.replace(_measured(model, study), path=path) for path in paths)
    drift_config = parse(drift.DriftConfig, config.drift, "config.drift")
    folders = (workdir / compared.name / EVALUATION, folder / EVALUATION)

    def compare():
        also = functools.partial(training_units, drift_config, folder, workdir, mesh=mesh)
        drift.run_drift(drift_config, base, tuned, mesh, folder, *folders, also=also)

    made = [evaluate(name, tuned.path, folder, arm_evaluation(config, name, arm))]
    if arm.method != "given":
        run = {"sft": sft.run_sft, "rl": rl.run_rl}[arm.method]
        section, asked = arm_section(config, name, arm), arm_evaluation(config, name, arm)

        def train():
            clean = decontaminated(config, section, folder)
            how = asked, section.validation, arm.method, start, mesh, config.seed
            run(clean, start, mesh, folder, seed, make_validator(*how))

        made.insert(0, StudyStage("train", name, f"train {name} seed {seed}", folder, train))
    if arm.drift:
        made.append(StudyStage("drift", name, f"drift {name} seed {seed}", folder, compare))
    if study.follow and arm.method != "given":
        which = config, _measured(model, study), mesh, workdir, name, seed
        follow = functools.partial(follow_arm, *which)
        made.append(
            StudyStage(
                "follow", name, f"follow {name} seed {seed}", folder / TRAJECTORY_FOLDER, follow
            )
        )
    return made


def _transfer(config, workdir) -> None:
    section = parse(transfer.TransferConfig, config.transfer, "config.transfer")
    on_process_zero(lambda: transfer.run_study_transfer(section, workdir))


def _report(config, workdir) -> None:
    from jaxreason.report.build import run_report  # The last stage alone needs it, with Matplotlib.

    section = parse(ReportConfig, config.report, "config.report")
    on_process_zero(lambda: run_report(workdir, section))


def _summary(workdir: epath.Path) -> str:
    from jaxreason.report.build import summary_text  # as in `_report`

    return summary_text(workdir)
