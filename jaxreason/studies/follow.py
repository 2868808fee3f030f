"""The trajectory of a training run: evaluates the base and each checkpoint once, as checkpoints appear.

The results of a step are in `<workdir>/steps/<step>`. After each step trajectory.json is written again from all of
them. A study has already measured the base and the last step, so their results are read from the study's folders.
"""

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from jaxreason.analysis import drift
from jaxreason.analysis.texts import Unit
from jaxreason.config import claimed
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.errors import UserError
from jaxreason.evaluation import eval_settings, transfer
from jaxreason.evaluation.evaluator import evaluate, fitting
from jaxreason.evaluation.paper_questions import keep_questions
from jaxreason.evaluation.trajectory import Named, Steps, asked_alike, best_step, find_named
from jaxreason.models.huggingface import ModelConfig, ModelSource, open_model, resolve
from jaxreason.results.claims import claim, digest, plain_json
from jaxreason.results.drift_files import read_drift
from jaxreason.results.score_files import EVALUATION, SCORES
from jaxreason.results.study_files import begun_steps, step_folder, write_trajectory
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.studies.training_texts import training_units
from jaxreason.training.run_reader import (
    TrainedRun,
    UnavailableError,
    checkpoint_source,
    finished_steps,
    read_run,
)

_LOG = logging.getLogger(__name__)
RECORD = "follow.json"
POLL_S = 5.0
SAVED = "The steps that were evaluated are saved."
KL_NAMES = (
    "kl_forward",
    "kl_reverse",
    "paper_kl",
)  # Kept for every benchmark; the other drift numbers are kept for groups only.
DRIFT_ROW = ("benchmark", "group", "source", "name", "value", "low", "high")
NONE_LEFT = "no checkpoint of it is left"
REMOVED = "its checkpoint was removed before it could be evaluated"
OUTDATED = "it was evaluated with other settings or graders, and its checkpoint is gone"


@dataclasses.dataclass(frozen=True)
class Places:
    """The paths of the files of each step.

    Attributes:
      workdir: folder of the trajectory; each step has a folder in it.
      root: folder of the study that has measured some steps already; None without a study.
      elsewhere: each such step -> its folder, relative to `root`; empty without a study.
    """

    workdir: epath.Path
    root: epath.Path | None = None
    elsewhere: dict[int, str] = dataclasses.field(default_factory=dict)

    def folder(self, step: int) -> epath.Path:
        """Returns the folder with a step's results."""
        if step in self.elsewhere:
            return self.root / self.elsewhere[step]
        return step_folder(self.workdir, step)

    def evaluation(self, step: int) -> epath.Path:
        """Returns the folder with a step's evaluation."""
        return self.folder(step) / EVALUATION

    def begun(self) -> list[int]:
        """Returns the steps that have results, in order."""
        return sorted({*begun_steps(self.workdir), *self.elsewhere})

    def model(self) -> int:
        """Returns the step whose evaluation settings all others must share.

        It is the base; in a study it is the last step, which was evaluated with the settings of its arm.
        """
        return max(self.elsewhere, default=0)


@dataclasses.dataclass(frozen=True)
class FollowConfig:
    """What is measured of every checkpoint.

    Attributes:
      model: the base of the run, and how models are run.
      evaluation: evaluation of the base and of each step.
      transfer: the index of each step against the base.
      drift: how far each step is from the base, on the replies of both.
      seed: seed of the sampling.
      best: the group or benchmark whose score decides which step is best; None for math.
    """

    model: ModelConfig
    evaluation: eval_settings.EvalConfig
    transfer: transfer.TransferConfig
    drift: drift.DriftConfig
    seed: int
    best: str | None


def run_follow(
    config: FollowConfig,
    run_folder: epath.PathLike,
    mesh: Mesh,
    workdir: epath.PathLike,
    wait: Callable[[], None] = lambda: time.sleep(POLL_S),
) -> None:
    """Evaluates the base and every checkpoint of a run. Returns when the run is complete and all are evaluated.

    Called by every process, under `jax.set_mesh(mesh)`. Checkpoints are only read.

    Args:
      config: what is measured.
      run_folder: working directory of the run, which may still be training.
      mesh: where to run.
      workdir: folder of the trajectory.
      wait: called when there is nothing to do yet.

    Raises:
      UserError: the settings or the run cannot be used, or `workdir` belongs to something else.
      SystemExit: with code 143, after a signal.
    """
    check_follow(config, mesh)
    run = read_run(run_folder)
    _follow(config, run, _base(config.model, run, mesh), mesh, Places(epath.Path(workdir)), wait)


def follow_finished(
    config: FollowConfig,
    run_folder: epath.PathLike,
    base: ModelSource,
    mesh: Mesh,
    places: Places,
) -> None:
    """Like `run_follow`, for a finished run of a study, which has measured the base and the last step already.

    Args:
      config: what is measured, with the arm's evaluation; its `best` is None.
      run_folder: folder of the run.
      base: the model that the run is compared with. The run need not have started from it.
      mesh: where to run.
      places: where the trajectory is, and where the study's own results are.

    Raises:
      UserError: the folder belongs to something else.
      SystemExit: with code 143, after a signal.
    """
    _follow(config, read_run(run_folder), base, mesh, places, wait=lambda: None)


def _follow(config, run: TrainedRun, base: ModelSource, mesh, places: Places, wait) -> None:
    positions = base.architecture().max_position_embeddings
    config = dataclasses.replace(config, evaluation=fitting(config.evaluation, positions))
    named = find_named(config.evaluation, config.transfer.variant, config.best)
    tokenizer = load_tokenizer(resolve(run.tokenizer or config.model.path))
    with Interrupt() as interrupt:
        on_process_zero(lambda: _claim(places.workdir, config, run, base))
        follower = Follower(config, named, run, base, tokenizer, mesh, places)
        follower.begin()
        while True:
            # First ask whether the run has ended, then look for checkpoints: none can appear after the end.
            ended = on_process_zero(run.ended)
            interrupt.check(SAVED)
            step = follower.next_step()
            if step is not None:
                follower.follow(step)
            elif ended:
                break
            else:
                wait()
        follower.write(complete=True)


def check_follow(config: FollowConfig, mesh: Mesh | None) -> Named:
    """Checks the settings for all steps at the start; returns the score by which the best step is chosen.

    Raises:
      UserError: names the field, what was expected and what was given.
    """
    drift.check_drift(config.drift, mesh)
    transfer.check_transfer(config.transfer)
    eval_settings.find_benchmarks(config.evaluation)
    eval_settings.check_sampled(config.evaluation, config.drift.decoding, "drift.decoding")
    return find_named(config.evaluation, config.transfer.variant, config.best)


def _base(model: ModelConfig, run: TrainedRun, mesh: Mesh) -> ModelSource:
    """Returns the model that the run started from. It must be the recipe's model."""
    began = f"--follow {run.folder}: the run began from"
    if model.init == "random":
        kind = {"init": model.init, "architecture": plain_json(model.architecture)}
        if {name: run.model.get(name) for name in kind} != kind:
            raise UserError(f"{began} another model than the random one of the recipe.")
        key = jax.random.key(run.seed)
        identity = kind | {"seed": run.seed}
        return ModelSource("random", model, identity, lambda how: open_model(how, mesh, key))
    source = ModelSource.of_folder(model, mesh)
    if plain_json(source.identity) != run.claimed.get("base"):
        raise UserError(
            f"{began} other weights (of {run.model.get('path') or 'a random model'}) than those of the recipe's model, "
            f"{model.path}. Set --config.model.path to its base."
        )
    return source


def _claim(workdir: epath.Path, config: FollowConfig, run: TrainedRun, base: ModelSource) -> None:
    made_with = {
        "run": digest(run.claimed),
        "base": base.identity,
        "drift": claimed(config.drift),
    }
    about = {"run_folder": str(run.folder)}
    sections = {"drift": drift.DriftConfig}
    claim(workdir, made_with, bool(begun_steps(workdir)), about, RECORD, sections)


class Follower:
    """Keeps account of the steps of a run: which are done and which are left.

    Args:
      config: what is measured.
      named: the score by which the best step is chosen.
      run: the run that is followed.
      base: the model that the run is compared with.
      tokenizer: the run's tokenizer.
      mesh: where to run.
      places: where the files are.
    """

    def __init__(
        self,
        config: FollowConfig,
        named: Named,
        run: TrainedRun,
        base: ModelSource,
        tokenizer: Tokenizer,
        mesh: Mesh,
        places: Places,
    ):
        self._config, self._named, self._run, self._base = config, named, run, base
        self._tokenizer, self._mesh, self._places = tokenizer, mesh, places
        self._steps = Steps(config.transfer, tuple(config.evaluation.decodings))
        self._done: set[int] = set(places.elsewhere)
        self._there = set(finished_steps(run))
        self._seen = set(self._there)
        self._told: set[int] = set()
        self._failed: dict[int, str] = {}

    def next_step(self) -> int | None:
        """Returns the oldest checkpoint that is not done, because the run removes the oldest
        first; None if all are done.
        """
        self._there = set(finished_steps(self._run))
        self._seen |= self._there
        return min(self._to_do(), default=None)

    def follow(self, step: int) -> None:
        """Evaluates a checkpoint. If it was removed or is damaged, the trajectory says so."""
        try:
            source = checkpoint_source(self._run, step, self._config.model, self._mesh)
            self.measure(step, source)
        except UnavailableError as error:
            there = step in finished_steps(self._run)
            self._failed[step] = f"its checkpoint is damaged: {error}" if there else REMOVED
            self.write()

    def begin(self) -> None:
        """Evaluates the base. This happens at every start, so that changed settings are
        refused before any other step.
        """
        if 0 not in self._places.elsewhere:
            on_process_zero(self._keep_questions)
            self._evaluate(0, self._base)
            self._done.add(0)
        self.write()

    def _keep_questions(self) -> None:
        """Stores the questions that drift reads beside the replies, with the evaluation of the base."""
        keep_questions(self._config.evaluation, self._places.evaluation(0))

    def measure(self, step: int, source: ModelSource) -> None:
        """Evaluates a model, compares it with the base, and writes the trajectory."""
        if not on_process_zero(lambda: self._is_scored(step)):
            self._evaluate(step, source)
        folders = {"base": self._places.evaluation(0), "tuned": self._places.evaluation(step)}
        how, folder = self._config.drift, self._places.folder(step)
        if how.metrics:
            also = self._training_units(source)
            models = self._base, source, self._mesh
            known = self._tokenizer if self._base.config.init == "random" else None
            drift.compare_models(how, *models, folder, folders, also, known)
        self._done.add(step)
        self.write()

    def _training_units(self, source: ModelSource) -> list[Unit]:
        """Returns replies to training prompts. The run's folder is read-only here, so they are
        kept in the study or here.
        """
        root = self._places.workdir if self._places.root is None else self._places.root
        models = self._base, source, self._mesh
        return training_units(self._config.drift, self._run.folder, root, *models)

    def _evaluate(self, step: int, source: ModelSource) -> None:
        _LOG.info("step %d of %s", step, self._run.folder)
        how, folder = self._config.evaluation, self._places.folder(step)
        evaluate(how, source, self._tokenizer, self._mesh, folder, self._config.seed)

    def write(self, complete: bool = False) -> None:
        """Writes trajectory.json from all results; `complete` says that no more will follow."""
        on_process_zero(lambda: self._write(complete))

    def _is_scored(self, step: int) -> bool:
        """Whether the step's evaluation is finished and was made with the present settings of the base (or the arm)."""
        own, model = self._places.evaluation(step), self._places.model()
        if not (own / SCORES).exists():
            return False
        return step in (0, model) or asked_alike(self._places.evaluation(model), own)

    def _write(self, complete: bool) -> None:
        begun = set(self._places.begun())
        for step in begun - self._steps.known():
            if self._is_scored(step) and step not in self._to_do():
                evaluations = map(self._places.evaluation, (step, 0))
                self._steps.add(step, *evaluations, self._drift_of(step))
        rows, scales = self._steps.rows()
        value = {
            "run": str(self._run.folder),
            "base": self._base.name,
            "method": str(self._run.claimed["stage"]),
            "seed": self._run.seed,
            "complete": complete,
            "variant": self._named.variant,
            "decoding": self._named.decoding,
            "scales": scales,
            "steps": rows,
            "missed": self._missed(begun),
            "best": best_step(self._named, rows),
            "elsewhere": {str(step): folder for step, folder in self._places.elsewhere.items()},
        }
        write_trajectory(self._places.workdir, value)

    def _to_do(self) -> set[int]:
        return self._there - self._done - set(self._failed)

    def _drift_of(self, step: int) -> list[dict[str, Any]]:
        """Returns the rows of each metric. There are none for the base, or if the checkpoint vanished before drift."""
        rows = []
        for metric in self._config.drift.metrics if step else ():
            found = read_drift(self._places.folder(step), metric)
            rows += [] if found is None else [{"metric": metric} | row for row in drift_rows(found)]
        return rows

    def _missed(self, begun: set[int]) -> list[dict[str, Any]]:
        """Lists the steps that had a checkpoint, as far as is known, but were not evaluated."""
        known, every = begun | self._seen | set(self._failed), self._run.checkpoint_every
        expected = set(range(every, max(known), every)) if every else set()
        found = []
        for step in sorted((known | expected) - self._steps.known() - self._to_do()):
            why = self._failed.get(step) or (REMOVED if step in self._seen else NONE_LEFT)
            if (self._places.evaluation(step) / SCORES).exists():
                why = OUTDATED
            found.append({"step": step, "why": why})
            if step not in self._told:
                self._told.add(step)
                _LOG.warning("step %d is left out: %s.", step, why)
        return found


def drift_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of a metric's file that a trajectory keeps.

    These are all rows of groups and of the whole model, and for benchmarks the KL rows.
    """
    kept = [r for r in found["rows"] if r.get("benchmark") is None or r["name"] in KL_NAMES]
    return [{name: row.get(name) for name in DRIFT_ROW} for row in kept + found["groups"]]
