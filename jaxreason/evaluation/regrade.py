"""`jaxreason grade`: makes the grades of finished samples again, without a model and without sampling."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from etils import epath

from jaxreason.data.examples import prompt_text
from jaxreason.errors import UserError
from jaxreason.evaluation.eval_jobs import EvalJob, asked_jobs
from jaxreason.evaluation.eval_settings import EvalConfig
from jaxreason.evaluation.evaluator import SAVED, check_isolation, grade_parts, make_pool
from jaxreason.results.atomic_files import read_object
from jaxreason.results.card_scores import update_scores
from jaxreason.results.jsonl import grown_exists, read_jsonl
from jaxreason.results.sample_files import sample_head_path, sample_keys, samples_path
from jaxreason.runtime.preemption import Interrupt
from jaxreason.tasks.verify import VerifierPool

_LOG = logging.getLogger(__name__)


def run_grade(config: EvalConfig, folders: Sequence[epath.Path]) -> None:
    """Grades the samples of evaluations as the recipe says, and writes their scores.json.

    Samples are not changed. Grades that the same grader made of the same samples and gold answers are kept, except
    those of samples that could not be graded.

    Args:
      config: the recipe; its benchmarks, variants and gold answers, and the graders' limits.
      folders: evaluation folders.

    Raises:
      UserError: a folder has no samples of the recipe's benchmarks, or they are unfinished, or of other questions.
      SystemExit: with code 143, after a signal; finished grades are written.
    """
    asked = asked_jobs(config)
    check_isolation(config, asked)
    found = {folder: sampled_parts(folder, asked) for folder in folders}
    with graders(config) as (pool, check):
        for folder, jobs in found.items():
            _LOG.info("grade: %s, %d sample files", folder, len(jobs))
            grade_parts(config, folder, jobs, pool, check, again=True)
            update_scores(folder, known=True)


@contextlib.contextmanager
def graders(config: EvalConfig) -> Iterator[tuple[VerifierPool, Callable[[], None]]]:
    """Enters the grading processes, and the function that ends the work after a signal."""
    with Interrupt() as interrupt, make_pool(config) as pool:
        yield pool, lambda: interrupt.check(SAVED)


def sampled_parts(folder: epath.Path, asked: Sequence[EvalJob]) -> list[EvalJob]:
    """Returns those of the jobs that have a sample file in the folder, with the contents of its head.

    Raises:
      UserError: there is none, or samples are of other questions than the recipe's; the message says which.
    """
    jobs = []
    for job in asked:
        if grown_exists(samples_path(folder, job.key)):
            jobs.append(_as_sampled(folder, job))
        else:
            _LOG.warning("%s: not sampled, so not graded", samples_path(folder, job.key))
    if not jobs:
        there = ", ".join(key.name for key in sample_keys(folder)) or "none"
        raise UserError(
            f"{folder}: expected samples of {', '.join(job.key.name for job in asked)}; there are: {there}."
        )
    known = {job.key for job in jobs}
    for key in [key for key in sample_keys(folder) if key not in known]:
        _LOG.warning("%s: not in the recipe, so left out of scores.json", samples_path(folder, key))
    return jobs


def _as_sampled(folder: epath.Path, job: EvalJob) -> EvalJob:
    """Returns the job with its head and number of samples, if its samples are of the recipe's questions."""
    path = samples_path(folder, job.key)
    counts = {"num_questions": int, "num_samples": int, "told": dict}
    head = read_object(sample_head_path(folder, job.key), counts)
    if head["num_questions"] != len(job.items):
        raise UserError(
            f"{path}: has samples of {head['num_questions']} questions, and the recipe asks {len(job.items)}. "
            "Use the recipe (limit, items_seed, data) that they were made with."
        )
    _check_prompts(str(path), job, read_jsonl(path))
    return replace(job, num_samples=head["num_samples"], head=head)


def _check_prompts(source: str, job: EvalJob, lines: list[dict]) -> None:
    """Refuses samples of questions that the recipe words differently, or does not have."""
    asked = {item.id: prompt_text(item.example) for item in job.items}
    for number, line in enumerate(lines, start=1):
        if asked.get(line.get("id")) != line.get("prompt"):
            raise UserError(
                f"{source}, line {number}: question {line.get('id')!r:.200} is another one in the recipe, or is worded "
                "in another way there. Use the recipe and data that the samples were made with."
            )
