"""Grade files: what a grader thinks of a sample file. One for each sample file and grader.

A grade file depends on its samples, the grader and its version, and the gold answers. It can be made again at any
time, without a model (`jaxreason grade`).
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import read_object
from jaxreason.results.clusters import SampleScores
from jaxreason.results.jsonl import grown_exists, read_jsonl
from jaxreason.results.sample_files import (
    MAYBE_TEXT,
    NUMBER,
    REMOVE,
    SCORES,
    TEXT,
    SampleKey,
    check_finished,
    sample_digest,
)

# Weighs samples so that every gold answer of a subset counts as much as every other: of an accuracy, the balanced one.
BALANCED = "balanced"
# What each field of a line is.
GRADE_FIELDS = {
    **dict.fromkeys(("id", "benchmark", "subset", "cluster", "answer", "of"), TEXT),
    **dict.fromkeys(("extracted", "error"), MAYBE_TEXT),
    "sample": NUMBER,
    "scores": SCORES,
}


def grades_path(folder: epath.Path, key: SampleKey, grader: str) -> epath.Path:
    """The file with one line for each sample, in the evaluation `folder`."""
    return folder / "grades" / f"{key.name}.{grader}.jsonl"


def grade_head_path(folder: epath.Path, key: SampleKey, grader: str) -> epath.Path:
    """The file that says how the grade file beside it was made."""
    return folder / "grades" / f"{key.name}.{grader}.head.json"


def graders_of(folder: epath.Path, key: SampleKey) -> list[str]:
    """The graders that have a grade file of this sample file, in the order of their names.

    Raises:
      UserError: a head is broken.
    """
    heads = sorted((folder / "grades").glob(f"{key.name}.*.head.json"))
    found = [read_object(head, {"grader": str})["grader"] for head in heads]
    return [name for name in found if grade_head_path(folder, key, name) in heads]


def read_grades(folder: epath.Path, key: SampleKey, grader: str) -> list[dict]:
    """The lines of a finished grade file.

    Raises:
      UserError: the file or its head is missing, a line is no grade of this benchmark, or one is missing, doubled or
        out of order; names file and line.
    """
    path, head = (f(folder, key, grader) for f in (grades_path, grade_head_path))
    for file in (path, head):
        if not grown_exists(file):
            raise UserError(
                f"{file}: not found, though scores.json lists its scores. `jaxreason grade` makes it again."
            )
    return finished_grades(read_jsonl(path), read_object(head, {}), str(path))


def finished_grades(lines: list[dict], head: dict[str, Any], source: str) -> list[dict]:
    """`read_grades` of lines and head already read; `source` names the file in messages."""
    check_finished(lines, head, GRADE_FIELDS, source)
    for number, line in enumerate(lines, start=1):
        if (line["error"] is None) != bool(line["scores"]):
            raise UserError(
                f"{source}, line {number}: expected scores or an error, got {line['scores']!r:.80} and "
                f"{line['error']!r:.80}. {REMOVE}"
            )
    return lines


def graded_samples(
    samples: list[dict],
    grades: list[dict],
    source: str,
    digest: Callable[[dict], str] = sample_digest,
) -> list[dict]:
    """Each sample with its grade, both files finished; `source` names the grade file in messages, and `digest` gives
    the hash of what a grader saw of a sample.

    Raises:
      UserError: the grades are of other samples.
    """
    if len(samples) != len(grades):
        raise UserError(
            f"{source}: has {len(grades)} grades of {len(samples)} samples. `jaxreason grade` makes them again."
        )
    for number, (sample, grade) in enumerate(zip(samples, grades, strict=True), start=1):
        same = all(sample[name] == grade[name] for name in ("id", "sample"))
        if not same or grade["of"] != digest(sample):
            raise UserError(
                f"{source}, line {number}: not the grade of sample {sample['sample']} of {sample['id']!r:.200} as it "
                "stands in the sample file. `jaxreason grade` makes the grades again."
            )
    return [sample | grade for sample, grade in zip(samples, grades, strict=True)]


def read_sample_scores(
    folder: epath.Path, key: SampleKey, grader: str, metric: str, weight: str | None
) -> SampleScores:
    """One metric of every sample of a finished grade file, NaN where grading or sampling failed.

    Args:
      folder: of the evaluation.
      key: of the sample file.
      grader: of the grade file.
      metric: its name in the lines' scores.
      weight: the score that weighs each sample, BALANCED, or None.

    Raises:
      UserError: as `read_grades`, or a line lacks the metric; names file and item.
    """
    path = grades_path(folder, key, grader)
    return sample_scores(read_grades(folder, key, grader), metric, weight, str(path))


def sample_scores(lines: list[dict], metric: str, weight: str | None, source: str) -> SampleScores:
    """`read_sample_scores` of lines already read; `source` names them in messages."""
    return SampleScores(
        values=np.array([_value(line, metric, source) for line in lines]),
        weights=_weights(lines, weight, source),
        clusters=tuple(line["cluster"] for line in lines),
        subsets=tuple(line["subset"] for line in lines),
    )


def _weights(lines: list[dict], weight: str | None, source: str) -> np.ndarray:
    if weight is None:
        return np.ones(len(lines))
    if weight != BALANCED:
        return np.array([_value(line, weight, source) for line in lines])
    gold = [(line["subset"], line["answer"]) for line in lines]
    counts = Counter(key for key, x in zip(gold, lines, strict=True) if x["error"] is None)
    return np.array([1 / max(counts[key], 1) for key in gold])


def _value(line: dict, metric: str, source: str) -> float:
    if line["error"] is not None:
        return float("nan")
    if metric not in line["scores"]:
        names = ", ".join(line["scores"])
        raise UserError(f"{source}, item {line['id']!r}: no score {metric!r} (it has {names}).")
    return float(line["scores"][metric])
