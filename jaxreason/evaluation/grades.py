"""Grade files: their origin, what they lack, and how they are completed. Grades are made again, never refused."""

import logging
from collections.abc import Callable
from typing import Any

from etils import epath

from jaxreason.config import to_dict
from jaxreason.errors import UserError
from jaxreason.evaluation.eval_jobs import FORMAT, TOLD, EvalJob, identity_of
from jaxreason.evaluation.grading import MOST_AT_ONCE, make_grades
from jaxreason.results.atomic_files import read_json, write_json
from jaxreason.results.claims import digest
from jaxreason.results.grade_files import (
    GRADE_FIELDS,
    finished_grades,
    grade_head_path,
    graded_samples,
    grades_path,
)
from jaxreason.results.jsonl import (
    JsonlWriter,
    grown_exists,
    join_parts,
    read_grown,
    read_jsonl,
    write_jsonl,
)
from jaxreason.results.sample_files import SampleKey, check_lines, sample_digest
from jaxreason.tasks.isolation import find_isolation
from jaxreason.tasks.registry import TASKS, grader_version
from jaxreason.tasks.verify import VerifierPool

_LOG = logging.getLogger(__name__)


def grade_head(job: EvalJob, task: str, code_isolation: str = "auto") -> dict[str, Any]:
    """Returns the identity of a grade file: its samples, the gold answers, the grader and its version.

    It also has the isolation of programs that a model wrote, if the grader runs any.
    """
    counted = ("benchmark", "prompt", "decoding", "num_samples", "num_questions")
    return {name: job.head[name] for name in counted} | {
        "format": FORMAT,
        "samples": digest(identity_of(to_dict(job.head))),
        "gold": job.gold,
        "grader": task,
        "version": grader_version(TASKS[task]),
        TOLD: {"isolation": find_isolation(code_isolation).name if TASKS[task].runs_code else None},
    }


def isolation_of(folder: epath.Path, key: SampleKey, task: str) -> str | None:
    """Returns the isolation of programs when a grade file was made; None if none were run."""
    head = _head(grade_head_path(folder, key, task))
    told = head.get(TOLD) if isinstance(head, dict) else None
    return told.get("isolation") if isinstance(told, dict) else None


def open_grades(folder: epath.Path, job: EvalJob, task: str, code_isolation: str = "auto") -> None:
    """Prepares the grade file to be continued: if this grader has not made it, empties it and writes its head."""
    path, head_path = (f(folder, job.key, task) for f in (grades_path, grade_head_path))
    wanted = to_dict(grade_head(job, task, code_isolation))
    if identity_of(_head(head_path)) == identity_of(wanted):
        return
    if grown_exists(path) and read_grown(path):
        _LOG.warning("%s: made by another grader or of other samples; graded again", path)
        write_jsonl(path, [])
    write_json(head_path, wanted)


def _head(path: epath.Path) -> Any:
    try:
        return read_json(path) if path.exists() else None
    except UserError:  # A broken head counts as none.
        return None


def kept_grades(
    folder: epath.Path, job: EvalJob, task: str, samples: list[dict]
) -> dict[tuple[str, int], dict]:
    """Returns the grades of an open file that are of these samples and the job's questions, by (question, sample).

    A file that cannot be read is reported and counts as empty.
    """
    path = grades_path(folder, job.key, task)
    if not grown_exists(path):
        return {}
    try:
        lines = read_jsonl(path)
        told = {item.id: (item.subset, item.cluster, item.example.answer) for item in job.items}
        check_lines(lines, str(path), GRADE_FIELDS, job.key.benchmark, job.num_samples, list(told))
    except UserError as error:
        _LOG.warning("%s The file is graded again.", error)
        return {}
    seen = {(line["id"], line["sample"]): sample_digest(line) for line in samples}
    found = {(line["id"], line["sample"]): line for line in lines}
    return {
        key: line
        for key, line in found.items()
        if seen.get(key) == line["of"]
        and told[line["id"]] == (line["subset"], line["cluster"], line["answer"])
    }


def finish_grades(
    pool: VerifierPool,
    folder: epath.Path,
    job: EvalJob,
    task: str,
    samples: list[dict],
    check: Callable[[], None] = lambda: None,
    again: bool = False,
) -> list[dict]:
    """Grades the samples without a grade, sorts the lines in the order of the samples, and returns them with the
    samples.

    Args:
      pool: the graders.
      folder: of the evaluation.
      job: the job of the samples.
      task: the grader.
      samples: all lines of the sample file, in order.
      check: called between rounds; if it raises an error, the call ends, and finished grades are kept.
      again: whether to grade again the samples that could not be graded.
    """
    open_grades(folder, job, task, pool.code_isolation)
    path = grades_path(folder, job.key, task)
    kept = kept_grades(folder, job, task, samples)
    if again:
        kept = {key: line for key, line in kept.items() if line["error"] is None}
    missing = [line for line in samples if (line["id"], line["sample"]) not in kept]
    if missing:
        write_jsonl(path, list(kept.values()))
        kept |= _grade(pool, path, job, task, missing, check)
    lines = [kept[line["id"], line["sample"]] for line in samples]
    if not grown_exists(path) or read_jsonl(path) != lines:
        write_jsonl(path, lines)
    join_parts(path)
    finished_grades(lines, job.head, str(path))
    return graded_samples(samples, lines, str(path))


def _grade(pool, path, job: EvalJob, task: str, missing: list[dict], check) -> dict:
    items = {item.id: item for item in job.items}
    writer, made = JsonlWriter(path), {}
    try:
        for start in range(0, len(missing), MOST_AT_ONCE):
            check()
            samples = [(items[line["id"]], line) for line in missing[start:][:MOST_AT_ONCE]]
            for line in make_grades(pool, task, samples):
                writer.write(line)
                made[line["id"], line["sample"]] = line
            writer.flush_if_due()
    finally:
        writer.close()
    return made
