"""Grade files: a grader's verdicts on a sample file. There is one for each sample file and grader.

A grade file depends on its samples, the grader and its version, and the gold answers. It can be made again at any time,
without a model (`jaxreason grade`).
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import glob_in, read_object
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

# Weights samples so that all gold answers of a subset have equal weight; an accuracy becomes the balanced accuracy.
BALANCED = "balanced"
# The type of each field of a line.
GRADE_FIELDS = {
    **dict.fromkeys(("id", "benchmark", "subset", "cluster", "answer", "of"), TEXT),
    **dict.fromkeys(("extracted", "error"), MAYBE_TEXT),
    "sample": NUMBER,
    "scores": SCORES,
}


def grades_path(folder: epath.Path, key: SampleKey, grader: str) -> epath.Path:
    """Returns the file with one grade per sample, in the evaluation `folder`."""
    return folder / "grades" / f"{key.name}.{grader}.jsonl"


def grade_head_path(folder: epath.Path, key: SampleKey, grader: str) -> epath.Path:
    """Returns the file that says how the grade file beside it was made."""
    return folder / "grades" / f"{key.name}.{grader}.head.json"


def graders_of(folder: epath.Path, key: SampleKey) -> list[str]:
    """Returns the graders that have a grade file for this sample file, in the order of their names.

    Raises:
      UserError: a head is broken.
    """
    heads = glob_in(folder / "grades", f"{key.name}.*.head.json")
    found = [read_object(head, {"grader": str})["grader"] for head in heads]
    return [name for name in found if grade_head_path(folder, key, name) in heads]


def read_grades(folder: epath.Path, key: SampleKey, grader: str) -> list[dict]:
    """Returns the lines of a finished grade file.

    Raises:
      UserError: the file or its head is missing, or a line is not a grade of this benchmark, or is missing, doubled or
        out of order; the message has file and line.
    """
    path, head = (f(folder, key, grader) for f in (grades_path, grade_head_path))
    for file in (path, head):
        if not grown_exists(file):
            raise UserError(
                f"{file}: not found, though scores.json lists its scores. `jaxreason grade` makes it again."
            )
    return finished_grades(read_jsonl(path), read_object(head, {}), str(path))


def finished_grades(lines: list[dict], head: dict[str, Any], source: str) -> list[dict]:
    """Does what `read_grades` does, for lines and head already read; `source` names the file in messages."""
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
    """Returns each sample with its grade, from two finished files.

    Args:
      samples: the lines of the sample file.
      grades: the lines of the grade file.
      source: names the grade file in messages.
      digest: returns the hash of what a grader sees of a sample.

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
    """Returns one metric of every sample of a finished grade file; NaN where grading or sampling failed.

    Args:
      folder: of the evaluation.
      key: of the sample file.
      grader: of the grade file.
      metric: its name in the lines' scores.
      weight: the score that is the weight of each sample, BALANCED, or None.

    Raises:
      UserError: as `read_grades`, or a line lacks the metric; the message has file and item.
    """
    path = grades_path(folder, key, grader)
    return sample_scores(read_grades(folder, key, grader), metric, weight, str(path))


def sample_scores(lines: list[dict], metric: str, weight: str | None, source: str) -> SampleScores:
    """Does what `read_sample_scores` does, for lines already read; `source` names them in messages."""
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
