"""The files of an evaluation folder (docs/evaluation_files.md): their names and their one reader.

A sample file counts only if every line is a sample of its benchmark, and in a finished evaluation
only if every sample is there once, those of a question together and in order.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.clusters import SampleScores
from jaxreason.results.files import read_json, read_object
from jaxreason.results.growing_files import grown_exists
from jaxreason.results.jsonl import read_jsonl

SCORES = "scores.json"
_TEXT, _MAYBE_TEXT, _TOKENS = "a text", "a text or null", "a list of token ids"
# What each field of a line is.
FIELDS = {
    **dict.fromkeys(("id", "benchmark", "subset", "cluster", "prompt", "completion"), _TEXT),
    **dict.fromkeys(("answer", "finish_reason"), _TEXT),
    **dict.fromkeys(("extracted", "error"), _MAYBE_TEXT),
    **dict.fromkeys(("prompt_tokens", "tokens"), _TOKENS),
    **dict.fromkeys(("sample", "num_tokens"), "a whole number from 0"),
    "scores": "an object of numbers",
}
HEAD = ("benchmark", "num_samples", "num_questions")  # what reading needs of head.json
REMOVE = "Remove the line and evaluate again: what is missing is made again."


def samples_path(folder: epath.Path, benchmark: str, decoding: str) -> epath.Path:
    """The file with one line for each sample of a benchmark under a decoding."""
    return folder / f"{benchmark}.{decoding}.jsonl"


def head_path(folder: epath.Path, benchmark: str, decoding: str) -> epath.Path:
    """What the sample file beside it was made with."""
    return folder / f"{benchmark}.{decoding}.head.json"


def read_score_rows(folder: epath.Path) -> list[dict]:
    """The rows of a finished evaluation's scores.json.

    Raises:
      UserError: when the evaluation in `folder` has not finished (or never ran), or the file is
        not one.
    """
    path = folder / SCORES
    if not path.exists():
        raise UserError(f"{path}: not found; this evaluation has not finished.")
    return score_rows(read_json(path), str(path))


def score_rows(value: Any, source: str) -> list[dict]:
    """The rows in the value of a scores.json; `source` names it in messages."""
    rows = value.get("rows") if isinstance(value, dict) else None
    needed = {"benchmark", "group", "decoding", "metric", "primary"}
    if not isinstance(rows, list) or not all(
        isinstance(r, dict) and needed <= set(r) for r in rows
    ):
        raise UserError(
            f"{source}: expected a list 'rows' of objects with {', '.join(sorted(needed))}. "
            "Remove the file and evaluate again: it is made from the sample files."
        )
    return rows


def read_samples(folder: epath.Path, benchmark: str, decoding: str) -> list[dict]:
    """The lines of a finished sample file.

    Raises:
      UserError: the file or its head is missing, a line is not a sample of this benchmark, or a
        sample is missing, doubled or out of order; names file and line.
    """
    path, head = (f(folder, benchmark, decoding) for f in (samples_path, head_path))
    for file in (path, head):
        if not grown_exists(file):
            raise UserError(f"{file}: not found, though {SCORES} beside it lists its scores.")
    return finished_samples(read_jsonl(path), read_object(head, {}), str(path))


def finished_samples(lines: list[dict], head: dict[str, Any], source: str) -> list[dict]:
    """`read_samples` of lines and head already read; `source` names the file in messages."""
    missing = [name for name in HEAD if name not in head]
    if missing:
        raise UserError(f"{source}: its head.json has no {', '.join(missing)}. Evaluate again.")
    each, number = head["num_samples"], head["num_questions"]
    check_samples(lines, source, head["benchmark"], each, None)
    if len(lines) != each * number:
        raise UserError(
            f"{source}: has {len(lines)} samples, expected {each * number} ({each} for each of "
            f"{number} questions). Evaluate again: what is missing is made again."
        )
    for place, line in enumerate(lines):
        first = lines[place - place % each]
        if line["sample"] != place % each or line["id"] != first["id"]:
            raise UserError(
                f"{source}, line {place + 1}: expected sample {place % each} of {first['id']!r}, "
                f"got sample {line['sample']} of {line['id']!r}. Evaluate again: it sorts the lines."
            )
    return lines


def check_samples(
    lines: list[dict],
    source: str,
    benchmark: str,
    num_samples: int,
    questions: Sequence[str] | None,
) -> None:
    """Refuses a line that is not a sample of this benchmark, or is one that is there already.

    Args:
      lines: of the file, the first one first.
      source: the file, for messages.
      benchmark: its name in the lines.
      num_samples: of each question.
      questions: ids of all questions; None where they are not known.

    Raises:
      UserError: names file, line, field, and what to do.
    """
    known = None if questions is None else set(questions)
    seen: dict[tuple[str, int], int] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{source}, line {number}"
        _check_fields(line, where)
        if line["benchmark"] != benchmark:
            raise UserError(
                f"{where}: expected a sample of {benchmark!r}, got {line['benchmark']!r}. {REMOVE}"
            )
        if known is not None and line["id"] not in known:
            raise UserError(f"{where}: {benchmark} has no question {line['id']!r:.200}. {REMOVE}")
        if line["sample"] >= num_samples:
            raise UserError(
                f"{where}: expected a sample of 0 to {num_samples - 1}, got {line['sample']}. {REMOVE}"
            )
        earlier = seen.setdefault((line["id"], line["sample"]), number)
        if earlier != number:
            raise UserError(
                f"{where}: sample {line['sample']} of {line['id']!r:.200} is in line {earlier} "
                "already. Remove one of the two lines."
            )


def _check_fields(line: Any, where: str) -> None:
    if not isinstance(line, dict):
        raise UserError(f"{where}: expected an object, got {line!r:.80}. {REMOVE}")
    for name, what in FIELDS.items():
        if name not in line:
            raise UserError(f"{where}: no field {name!r}. {REMOVE}")
        if not _is(line[name], what):
            raise UserError(f"{where}, {name}: expected {what}, got {line[name]!r:.80}. {REMOVE}")
    if (line["error"] is None) != bool(line["scores"]):
        raise UserError(
            f"{where}: expected scores or an error, got {line['scores']!r:.80} and "
            f"{line['error']!r:.80}. {REMOVE}"
        )


def _is(value: Any, what: str) -> bool:
    if what in (_TEXT, _MAYBE_TEXT):
        return isinstance(value, str) or (value is None and what == _MAYBE_TEXT)
    if what == _TOKENS:
        return isinstance(value, list) and set(map(type, value)) <= {int}
    if what.startswith("a whole number"):
        return type(value) is int and value >= 0
    if not isinstance(value, dict) or not {type(score) for score in value.values()} <= {int, float}:
        return False
    return bool(np.isfinite(list(value.values())).all())


def read_sample_scores(
    folder: epath.Path, benchmark: str, decoding: str, metric: str, weight: str | None
) -> SampleScores:
    """One metric of every sample of a finished file, NaN where grading or sampling failed.

    Args:
      folder: of the evaluation.
      benchmark: of the file.
      decoding: of the file.
      metric: its name in the lines' scores.
      weight: the score that weighs each sample, or None.

    Raises:
      UserError: as `read_samples`, or a line lacks the metric; names file and item.
    """
    path = samples_path(folder, benchmark, decoding)
    return sample_scores(read_samples(folder, benchmark, decoding), metric, weight, str(path))


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
