"""Samples and grades every benchmark of a recipe with one model: samples, grades, then scores.json.

Each sample is written as soon as it is made and graded during the sampling, so a run that was killed continues where it
stopped. Every process samples; only process 0 grades and writes.
"""

import contextlib
import dataclasses
import functools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.evaluation.aggregation import (
    check_failures,
    group_rows,
    reply_facts,
    summarize_grades,
)
from jaxreason.evaluation.eval_jobs import (
    TOLD,
    EvalJob,
    claim_jobs,
    missing_samples,
    plan_jobs,
    sorted_samples,
)
from jaxreason.evaluation.eval_requests import WantedSamples, make_replies
from jaxreason.evaluation.eval_settings import EvalConfig, benchmark_groups
from jaxreason.evaluation.grades import finish_grades, isolation_of, kept_grades, open_grades
from jaxreason.evaluation.grading import EvalReply, Grader, sample_line
from jaxreason.evaluation.harness_import import imported_rows, primaries_of
from jaxreason.evaluation.paper_questions import keep_questions
from jaxreason.models.huggingface import ModelConfig, ModelSource, read_architecture, resolve
from jaxreason.results.atomic_files import absolute
from jaxreason.results.card_scores import MODEL, update_scores
from jaxreason.results.grade_files import grades_path
from jaxreason.results.jsonl import JsonlWriter, grown_exists, read_jsonl, write_jsonl
from jaxreason.results.sample_files import SampleKey, samples_path
from jaxreason.results.score_files import EVALUATION, write_scores
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.open_engine import engine_for
from jaxreason.tasks.isolation import find_isolation
from jaxreason.tasks.registry import TASKS
from jaxreason.tasks.verify import VerifierPool
from jaxreason.tracking.metric_logger import ProgressBar

_LOG = logging.getLogger(__name__)
SAVED = "The samples and grades that were made are saved."

__all__ = ["EvalConfig", "benchmark_groups", "evaluate", "run_eval"]


def run_eval(
    config: EvalConfig, model_config: ModelConfig, mesh: Mesh, workdir: epath.PathLike, seed: int
) -> None:
    """Evaluates the model of a folder into `workdir`/evaluation, or continues to do so; docs/evaluation_files.md.

    Args:
      config: what is run.
      model_config: a model folder or hub name, with its tokenizer. It is loaded only if samples are missing.
      mesh: set by the caller.
      workdir: of the run.
      seed: of the sampling; a question's draws do not depend on the model or on other questions.

    Raises:
      ConfigError: settings do not fit, or sample files were made with others.
      SystemExit: with code 143, after a signal; finished grades are written.
      ValueError: data or a model cannot be used.
    """
    if model_config.init != "pretrained":
        raise ConfigError("eval: model.init must be 'pretrained': a tokenizer comes with a folder.")
    folder = resolve(model_config.path)
    config = fitting(config, read_architecture(folder).max_position_embeddings)
    tokenizer = load_tokenizer(folder)
    source = ModelSource.of_folder(model_config, mesh)
    on_process_zero(lambda: keep_questions(config, epath.Path(workdir) / EVALUATION))
    evaluate(config, source, tokenizer, mesh, workdir, seed)
    on_process_zero(lambda: _tell_card(folder, epath.Path(workdir)))


def fitting(config: EvalConfig, positions: int) -> EvalConfig:
    """Returns the evaluation for a model with this many positions: shortened to them, if the recipe allows it."""
    if not config.within_positions or config.sampler.max_length <= positions:
        return config
    return dataclasses.replace(
        config, sampler=dataclasses.replace(config.sampler, max_length=positions)
    )


def _tell_card(model: epath.Path, workdir: epath.Path) -> None:
    """Writes the scores of a model that the working directory's own run has made into that model's card too."""
    if absolute(model) == absolute(workdir / MODEL):
        update_scores(workdir / EVALUATION)


def evaluate(
    config: EvalConfig,
    source: ModelSource,
    tokenizer: Tokenizer,
    mesh: Mesh,
    workdir: epath.PathLike,
    seed: int,
) -> None:
    """Does what `run_eval` does, for a model from any source with a given tokenizer."""

    def make_engine() -> Engine:
        model, params = source.open()
        return engine_for(model, params, config.sampler, mesh, tokenizer)

    with Interrupt() as interrupt:
        check = functools.partial(interrupt.check, SAVED)
        ask_and_grade(config, source, tokenizer, make_engine, workdir, seed, check)


def ask_and_grade(
    config: EvalConfig,
    source: ModelSource,
    tokenizer: Tokenizer,
    make_engine: Callable[[], Engine],
    workdir: epath.PathLike,
    seed: int,
    check: Callable[[], None],
) -> None:
    """Does what `evaluate` does, with an engine that holds the model; it is made if samples are missing.

    `check` is called where the call may end: if it raises an error, the call ends with all samples and grades written.
    """
    folder = epath.Path(workdir) / EVALUATION
    jobs = plan_jobs(config, source, tokenizer, seed)
    on_process_zero(lambda: check_isolation(config, jobs))
    with make_pool(config) as pool:
        jobs = claim_jobs(folder, jobs)
        missing = [missing_samples(folder, job) for job in jobs]
        if any(mask.any() for mask in missing):
            todo, whole = (sum(int(mask.sum()) for mask in missing), sum(m.size for m in missing))
            _LOG.info("data: %d of %d replies are to be sampled", todo, whole)
            engine = make_engine()
            check()
            run_parts(engine, tokenizer, folder, jobs, missing, pool, seed, check)
        check()
        # Only process 0 grades, so it cannot agree with the other processes to end in between.
        between = check if jax.process_count() == 1 else lambda: None
        on_process_zero(lambda: grade_parts(config, folder, jobs, pool, between))


def make_pool(config: EvalConfig) -> VerifierPool:
    """Makes the pool of grading processes."""
    return VerifierPool(
        config.grader_workers, config.grader_timeout_s, code_isolation=config.code_isolation
    )


def check_isolation(config: EvalConfig, jobs: list[EvalJob]) -> None:
    """Refuses benchmarks whose graders run code if no isolation works, before anything is sampled.

    Raises:
      UserError: the message says what to install or set.
    """
    if any(TASKS[task].runs_code for job in jobs for task in job.graders):
        find_isolation(config.code_isolation)


def run_parts(
    engine: Engine,
    tokenizer: Tokenizer,
    folder: epath.Path,
    jobs: list[EvalJob],
    missing: list[np.ndarray],
    pool: VerifierPool,
    seed: int,
    check: Callable[[], None],
) -> None:
    """Makes the missing samples of every job, those with one decoding together, and grades them meanwhile.

    If `check` raises an error, the call ends; finished samples are written.
    """
    wanted = [
        WantedSamples(job, mask) for job, mask in zip(jobs, missing, strict=True) if mask.any()
    ]
    with contextlib.closing(_Shown(folder, missing)) as shown:
        for decoding in dict.fromkeys(one.job.decoding for one in wanted):
            chosen = [one for one in wanted if one.job.decoding == decoding]
            replies = make_replies(engine, tokenizer, chosen, decoding, seed, check)
            if jax.process_index() == 0:
                _write_replies(folder, [one.job for one in chosen], replies, pool, shown)
            else:
                for _ in replies:  # The engine's programs run on all processes together.
                    pass


def _write_replies(
    folder: epath.Path,
    jobs: list[EvalJob],
    replies: Iterator[tuple[EvalJob, EvalReply]],
    pool: VerifierPool,
    shown: "_Shown",
) -> None:
    """Writes replies, each one into the file of its job, and passes them to the grader."""
    with contextlib.ExitStack() as stack:
        writers, graders = {}, {}
        for job in jobs:
            path = samples_path(folder, job.key)
            there = read_jsonl(path) if grown_exists(path) else []
            writers[job.key] = stack.enter_context(contextlib.closing(JsonlWriter(path)))
            graders[job.key] = [
                stack.enter_context(_grader(stack, folder, job, task, there, pool, shown))
                for task in job.graders
            ]
        for job, reply in replies:
            line = sample_line(job.key.benchmark, reply)
            writers[job.key].write(line)
            writers[job.key].flush_if_due()
            for grader in graders[job.key]:
                grader.put(reply.item, line)


def _grader(
    stack: contextlib.ExitStack,
    folder: epath.Path,
    job: EvalJob,
    task: str,
    there: list[dict],
    pool: VerifierPool,
    shown: "_Shown",
) -> Grader:
    """Returns a grader that continues its grade file with the existing samples."""
    open_grades(folder, job, task, pool.code_isolation)
    path = grades_path(folder, job.key, task)
    write_jsonl(path, list(kept_grades(folder, job, task, there).values()))
    writer = stack.enter_context(contextlib.closing(JsonlWriter(path)))
    return Grader(pool, task, writer, functools.partial(shown.add, job, task))


class _Shown:
    """The progress bar: how far grading is, and the score that the last grader has given to its file so far."""

    def __init__(self, folder: epath.Path, missing: list[np.ndarray]):
        total = sum(mask.size for mask in missing)
        self._done: float = total - sum(int(mask.sum()) for mask in missing)
        self._progress = ProgressBar(f"evaluate {'/'.join(folder.parts[-3:-1])}", total, self._done)
        self._right: Counter[tuple[SampleKey, str]] = Counter()
        self._graded: Counter[tuple[SampleKey, str]] = Counter()
        self._errors = 0
        self._lock = threading.Lock()  # Every job has its own graders.

    def add(self, job: EvalJob, task: str, lines: list[dict]) -> None:
        """Counts lines that were just written and shows the progress."""
        primary, which = TASKS[task].primary, (job.key, task)
        name = f"{job.key.benchmark} {job.key.decoding}  {task} {primary}"
        graded = [line["scores"][primary] for line in lines if line["error"] is None]
        with self._lock:
            self._done += len(lines) / len(job.graders)
            self._right[which] += sum(graded)
            self._graded[which] += len(graded)
            self._errors += len(lines) - len(graded)
            number = self._graded[which]
            mean = f"{self._right[which] / number:.3f}" if number else "-"
            errors = f"  {self._errors} ERRORS" if self._errors else ""
            self._progress.update(int(self._done), f"{name} {mean}{errors}")

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._progress.close()


def grade_parts(
    config: EvalConfig,
    folder: epath.Path,
    jobs: list[EvalJob],
    pool: VerifierPool,
    check: Callable[[], None],
    again: bool = False,
) -> None:
    """Grades all samples of finished sample files that have no grade yet, and writes scores.json.

    Rows that came from lm-eval (`jaxreason grade --lm-eval`) are kept.

    Args:
      config: of the intervals.
      folder: of the evaluation.
      jobs: its sample files, with their heads.
      pool: the graders.
      check: called between rounds of grading; if it raises an error, the call ends.
      again: whether to grade again the samples that could not be graded.

    Raises:
      UserError: a sample file is broken, or no sample has a score: then there is no scores.json.
    """
    files, graded = [], []
    for job in jobs:
        samples = sorted_samples(folder, job)
        for task in job.graders:
            lines = finish_grades(pool, folder, job, task, samples, check, again)
            files.append((grades_path(folder, job.key, task), lines))
            graded.append((job, task, lines))
    check_failures(files)
    rows, primaries = [], []
    for job, task, lines in graded:
        for variant in job.graders[task]:
            found, primary = summarize_grades(
                job.key,
                variant,
                task,
                job.benchmark,
                job.items,
                lines,
                config.confidence,
                config.resamples,
                config.pass_at,
                config.maj_at,
            )
            isolation = isolation_of(folder, job.key, task)
            rows += [row | {"isolation": isolation} for row in found]
            primaries.append((variant, job.benchmark.group, job.key, primary))
    imported = imported_rows(config, folder)
    rows += imported
    primaries += primaries_of(folder, imported)
    told = jobs[0].head[TOLD]
    value = {
        **told,
        "confidence": config.confidence,
        "rows": rows,
        "groups": group_rows(primaries, config.confidence, config.resamples),
        "replies": reply_facts(graded),
    }
    write_scores(folder, value)
