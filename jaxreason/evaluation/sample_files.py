"""Names and reading of the files of an evaluation folder (docs/evaluation_files.md describes
them).
"""

import numpy as np
from etils import epath

from jaxreason.errors import UserError
from jaxreason.evaluation.scores import SampleScores
from jaxreason.results.files import read_json, read_jsonl

SCORES = "scores.json"


def samples_path(folder: epath.Path, benchmark: str, decoding: str) -> epath.Path:
    """The file with one line for each sample of a benchmark under a decoding."""
    return folder / f"{benchmark}.{decoding}.jsonl"


def head_path(folder: epath.Path, benchmark: str, decoding: str) -> epath.Path:
    """What the sample file beside it was made with."""
    return folder / f"{benchmark}.{decoding}.head.json"


def read_score_rows(folder: epath.Path) -> list[dict]:
    """The rows of a finished evaluation's scores.json.

    Raises:
      ValueError: when the evaluation in `folder` has not finished (or never ran).
    """
    path = folder / SCORES
    if not path.exists():
        raise UserError(f"{path}: not found; this evaluation has not finished.")
    return read_json(path)["rows"]


def read_sample_scores(path: epath.Path, metric: str, weight: str | None) -> SampleScores:
    """One metric of every sample of a file, NaN where grading or sampling failed.

    Args:
      path: the file.
      metric: its name in the lines' scores.
      weight: the score that weighs each sample, or None.

    Raises:
      ValueError: when the file is missing or a line lacks the metric; names file and item.
    """
    if not path.exists():
        raise UserError(f"{path}: not found.")
    return sample_scores(read_jsonl(path), metric, weight, str(path))


def sample_scores(lines: list[dict], metric: str, weight: str | None, source: str) -> SampleScores:
    """`read_sample_scores` of lines already read; `source` names them in messages."""
    ones = np.ones(len(lines))
    return SampleScores(
        values=np.array([_value(line, metric, source) for line in lines]),
        weights=ones if weight is None else np.array([_value(x, weight, source) for x in lines]),
        clusters=tuple(line["cluster"] for line in lines),
        subsets=tuple(line["subset"] for line in lines),
    )


def _value(line: dict, metric: str, source: str) -> float:
    if line["error"] is not None:
        return float("nan")
    if metric not in line["scores"]:
        names = ", ".join(line["scores"])
        raise UserError(f"{source}, item {line['id']!r}: no score {metric!r} (it has {names}).")
    return float(line["scores"][metric])
