"""Makes scores.json from the sample files: a row for each benchmark, decoding and metric, and means of groups.

Samples without a score are counted and reported.
"""

import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxreason.errors import UserError
from jaxreason.evaluation.benchmark_spec import VARIANTS, Benchmark
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.eval_jobs import EvalJob
from jaxreason.results.clusters import Clustered, SampleScores, cluster, merge
from jaxreason.results.grade_files import sample_scores
from jaxreason.results.groups import groups_in_order
from jaxreason.results.of_k import of_k_scores
from jaxreason.results.sample_files import SampleKey
from jaxreason.results.statistics import Interval, mean_interval
from jaxreason.tasks.registry import TASKS, Task, summarize


def summarize_grades(
    key: SampleKey,
    variant: str,
    grader: str,
    benchmark: Benchmark,
    items: list[EvalItem],
    lines: list[dict],
    confidence: float,
    resamples: int,
    pass_at: tuple[int, ...],
    maj_at: tuple[int, ...],
) -> tuple[list[dict], Clustered]:
    """Summarizes one grade file for one variant: rows of scores, and the scores of the primary metric.

    Args:
      key: of the sample file.
      variant: the variant that the rows are for.
      grader: a key of TASKS.
      benchmark: the benchmark that was asked.
      items: its questions.
      lines: samples with their grades.
      confidence, resamples: of the intervals.
      pass_at, maj_at: the k of pass@k and of maj@k.
    """
    task, name = TASKS[grader], key.benchmark
    weights = task.weights
    samples_each = max(Counter(line["id"] for line in lines).values())
    head = {"benchmark": name, "label": benchmark.label, "group": benchmark.group}
    head |= {"variant": variant, "prompt": key.prompt, "grader": grader}
    head |= {"decoding": key.decoding, "num_samples": samples_each}
    head["errors"] = sum(line["error"] is not None for line in lines)
    metrics = dict.fromkeys(metric for line in lines for metric in line["scores"])
    metrics.setdefault(task.primary)
    rows, primary = [], None
    for metric in metrics:
        values = _metric(lines, metric, weights.get(metric), name)
        scores = cluster([values])
        found = mean_interval(scores, confidence, resamples)
        is_primary = metric == task.primary
        primary = scores if is_primary else primary
        rows.append(score_row(head, metric, is_primary, found, weights.get(metric), values))
    rows += _of_k_rows(head, lines, task.primary, pass_at, maj_at, confidence, resamples)
    rows += _whole_rows(head, task, items, lines, set(metrics))
    return rows, primary


def _metric(lines: list[dict], metric: str, weight: str | None, name: str) -> SampleScores:
    # If no sample of a benchmark could be graded, no line has a metric.
    graded = any(line["error"] is None for line in lines)
    return sample_scores(lines, metric, weight if graded else None, name)


def score_row(
    head: dict,
    metric: str,
    is_primary: bool,
    found: Interval,
    weight: str | None,
    values: SampleScores | None,
) -> dict[str, Any]:
    """Returns a row of scores.json. `head` identifies it; `values`, if given, adds how many samples were graded."""
    graded = None if values is None else int((~np.isnan(values.values)).sum())
    return head | {
        "metric": metric,
        "primary": is_primary,
        "mean": _number(found.mean),
        "low": _number(found.low),
        "high": _number(found.high),
        "n": found.n,
        "graded": graded,
        "formula": found.formula,
        "weight": weight,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _of_k_rows(head, lines, primary, pass_at, maj_at, confidence, resamples) -> list[dict]:
    rows = []
    for metric, (values, formula) in of_k_scores(lines, primary, pass_at, maj_at).items():
        found = mean_interval(cluster([values]), confidence, resamples)
        row = score_row(head, metric, False, found, None, None)
        rows.append(row | {"formula": f"{formula}; {found.formula}"})
    return rows


def _whole_rows(
    head: dict, task: Task, items: list[EvalItem], lines: list[dict], known: set[str]
) -> list[dict]:
    """Returns the metrics that a task defines only for a whole set (MC-TACO's F1 by question); no interval."""
    graded = [line for line in lines if line["error"] is None]
    if task.summarize is None or not graded:
        return []
    examples = {item.id: item.example for item in items}
    values = summarize(task, [examples[x["id"]] for x in graded], [x["scores"] for x in graded])
    nan = float("nan")
    return [
        score_row(
            head, metric, False, Interval(value, nan, nan, len(graded), "whole set"), None, None
        )
        for metric, value in values.items()
        if metric not in known
    ]


def reply_facts(graded: list[tuple[EvalJob, str, list[dict]]]) -> list[dict[str, Any]]:
    """Returns a row for each sample file: how long its replies are, and failed grades by grader and kind."""
    rows: dict[SampleKey, dict[str, Any]] = {}
    for job, grader, lines in graded:
        row = rows.setdefault(job.key, _facts(job, lines))
        errors = Counter(error_kind(x["error"]) for x in lines if x["error"] is not None)
        row["errors"][grader] = dict(errors)
    return list(rows.values())


def _facts(job: EvalJob, lines: list[dict]) -> dict[str, Any]:
    lengths = [line["num_tokens"] for line in lines if line["num_tokens"] is not None]
    return job.key._asdict() | {
        "group": job.benchmark.group,
        "num_samples": job.num_samples,
        "samples": len(lines),
        "mean_tokens": float(np.mean(lengths)) if lengths else None,
        "max_tokens": max(lengths, default=None),
        "truncated": float(np.mean([line["finish_reason"] == "length" for line in lines])),
        "errors": {},
    }


def group_rows(
    jobs: list[tuple[str, str, SampleKey, Clustered]], confidence: float, resamples: int
) -> list[dict]:
    """Returns the means over each group's benchmarks, from (variant, group, key, primary scores)."""
    rows = []
    groups = groups_in_order(job[1] for job in jobs)
    ordered = sorted(
        jobs, key=lambda job: (VARIANTS.index(job[0]), groups.index(job[1]), job[2].decoding)
    )
    for (variant, group, decoding), members in itertools.groupby(ordered, key=_level):
        members = list(members)
        scores = merge([member[3] for member in members])
        found = mean_interval(scores, confidence, resamples)
        rows.append(
            {"variant": variant, "group": group, "decoding": decoding}
            | {"benchmarks": [member[2].benchmark for member in members]}
            | {"mean": _number(found.mean), "low": _number(found.low)}
            | {"high": _number(found.high), "n": found.n, "formula": found.formula}
        )
    return rows


def _level(job: tuple[str, str, SampleKey, Clustered]) -> tuple[str, str, str]:
    variant, group, key, _ = job
    return variant, group, key.decoding


_LOG = logging.getLogger(__name__)


def check_failures(files: Sequence[tuple[epath.Path, list[dict]]]) -> None:
    """Warns of every sample file with failed samples.

    Args:
      files: the path of every grade file of an evaluation, and its lines.

    Raises:
      UserError: no sample of the whole evaluation has a score; the message says why.
    """
    errors = {path: [x["error"] for x in lines if x["error"] is not None] for path, lines in files}
    if sum(map(len, errors.values())) == sum(len(lines) for _, lines in files):
        first = next(error for found in errors.values() for error in found)
        raise UserError(
            f"{files[0][0].parent}: none of its samples has a score, so there is no result. "
            f"{_counted([e for found in errors.values() for e in found])}; the first: {first:.500}. "
            "When the cause is mended, `jaxreason grade` grades the samples again (remove the sample files first "
            "where sampling failed)."
        )
    for path, lines in files:
        if errors[path]:
            counts = f"{len(errors[path])} of {len(lines)}"
            _LOG.warning("%s: %s samples without a score. %s", path, counts, _counted(errors[path]))


def _counted(errors: list[str]) -> str:
    kinds = Counter(error_kind(error) for error in errors)
    return ", ".join(f"{kind}: {number}" for kind, number in kinds.most_common())


def error_kind(error: str) -> str:
    """Returns the kind of an error, without details: `timeout`, `crash`, a grader's exception, `sampling error`."""
    return error.split(":")[0]
