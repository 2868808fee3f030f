"""`jaxreason grade --lm-eval DIR`: adds results of lm-eval to the scores of an evaluation."""

import itertools
from dataclasses import replace
from typing import get_args

from etils import epath

from jaxreason.errors import UserError
from jaxreason.evaluation.aggregation import group_rows, score_row
from jaxreason.evaluation.benchmark_spec import VARIANTS
from jaxreason.evaluation.eval_settings import EvalConfig
from jaxreason.evaluation.harness_results import (
    GRADER,
    HarnessTask,
    read_harness_results,
    write_harness_task,
)
from jaxreason.results.atomic_files import read_json
from jaxreason.results.clusters import Clustered, cluster
from jaxreason.results.grade_files import grades_path, read_sample_scores
from jaxreason.results.groups import GroupName
from jaxreason.results.jsonl import grown_exists
from jaxreason.results.sample_files import SampleKey
from jaxreason.results.score_files import (
    SCORES,
    parse_score_rows,
    read_scores,
    sample_key_of,
    write_scores,
)
from jaxreason.results.statistics import mean_interval


def run_import(
    config: EvalConfig, results: epath.PathLike, group: str, decoding: str, folder: epath.Path
) -> list[str]:
    """Adds the tasks of a results folder to the evaluation in `folder`; they replace an earlier import of the same
    tasks.

    For each task, sample and grade files are written, and rows of scores.json for both variants. The primary metric is
    the first one of which more is better. Tasks without a metric that is a mean over documents are left out.

    Args:
      config: for its intervals and its decodings. If the evaluation has scores of its own, the confidence level is
        theirs.
      results: lm-eval's, with samples.
      group: of the benchmarks that the tasks become.
      decoding: the recipe's decoding with which they are compared and averaged.
      folder: of the evaluation; it may have no scores yet.

    Returns:
      the tasks that were left out.

    Raises:
      UserError: the results cannot be read, or there is no such group or decoding.
    """
    if group not in get_args(GroupName):
        raise UserError(f"--group={group}: expected one of {', '.join(get_args(GroupName))}")
    if decoding not in config.decodings:
        raise UserError(f"--decoding={decoding}: expected one of {', '.join(config.decodings)}")
    path = folder / SCORES
    value = read_json(path) if path.exists() else {"model": str(results), "replies": [], "rows": []}
    rows, left_out = parse_score_rows(value, str(path)), []
    made: dict[SampleKey, list[dict]] = {}
    if not all(map(_is_imported, rows)):  # Their intervals stay as they are.
        config = replace(config, confidence=read_scores(folder)[2])
    for task in read_harness_results(results):
        if not task.documents[0].scores:
            left_out.append(task.name)
            continue
        key = write_harness_task(folder, task, decoding)
        made[key] = _rows(config, folder, key, task, group)
    kept = [row for row in rows if sample_key_of(row) not in made]
    rows = [_measured(config, folder, row) if _is_imported(row) else row for row in kept]
    rows += itertools.chain.from_iterable(made.values())
    groups = group_rows(primaries_of(folder, rows), config.confidence, config.resamples)
    shared = {"confidence": config.confidence, "rows": rows, "groups": groups}
    write_scores(folder, value | shared)
    return left_out


def _rows(
    config: EvalConfig, folder: epath.Path, key: SampleKey, task: HarnessTask, group: str
) -> list[dict]:
    metrics = list(task.documents[0].scores)
    primary = next((m for m in metrics if task.higher_is_better.get(m)), metrics[0])
    head = {"benchmark": key.benchmark, "label": key.benchmark, "group": group}
    head |= {"prompt": key.prompt, "grader": GRADER, "decoding": key.decoding}
    head |= {"num_samples": 1, "errors": 0}
    made = []
    for metric in metrics:
        own = head | {"metric": metric, "primary": metric == primary}
        row = _measured(config, folder, own)
        made += [row | {"variant": variant} for variant in VARIANTS]
    return made


def imported_rows(config: EvalConfig, folder: epath.Path) -> list[dict]:
    """Returns the rows of scores.json that came from lm-eval and whose files exist; none if it cannot be read.

    Their intervals are made anew, since those that are there may be of another confidence level than `config` has.
    """
    path = folder / SCORES
    try:
        rows = parse_score_rows(read_json(path), str(path)) if path.exists() else []
    except UserError:  # It will be made again.
        return []
    found = [row for row in rows if _is_imported(row)]
    there = [row for row in found if grown_exists(grades_path(folder, sample_key_of(row), GRADER))]
    return [_measured(config, folder, row) for row in there]


def _is_imported(row: dict) -> bool:
    return row["grader"] == GRADER


def _measured(config: EvalConfig, folder: epath.Path, row: dict) -> dict:
    """Returns an imported row with the mean and the interval that its grade file has under `config`."""
    metric, primary = row["metric"], row["primary"]
    values = read_sample_scores(folder, sample_key_of(row), GRADER, metric, None)
    found = mean_interval(cluster([values]), config.confidence, config.resamples)
    return score_row(row, metric, primary, found, None, values)


def primaries_of(
    folder: epath.Path, rows: list[dict]
) -> list[tuple[str, str, SampleKey, Clustered]]:
    """Returns the scores for group means: the primary score of every benchmark, including the evaluation's own."""
    found = []
    for row in (row for row in rows if row["primary"]):
        how = row["grader"], row["metric"], row["weight"]
        scores = cluster([read_sample_scores(folder, sample_key_of(row), *how)])
        found.append((row["variant"], row["group"], sample_key_of(row), scores))
    return found
