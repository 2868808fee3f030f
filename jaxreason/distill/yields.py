"""The yield: for each source and difficulty, how many questions and replies were right, kept or lost, and why."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxreason.data.rows import is_missing
from jaxreason.distill.judging import KNOWN, NOT_GRADABLE, OUTCOMES, RIGHT, Judged
from jaxreason.distill.passes import TeacherQuestion

# Pass rates: 0, up to 1/4, up to 1/2, up to 3/4, less than 1, 1, and unknown.
BUCKETS = ("0", "0-1/4", "1/4-1/2", "1/2-3/4", "3/4-1", "1", "unknown")
QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Entry:
    """The outcome of one pass for one question.

    Attributes:
      question: the question.
      replies: all its replies.
      kept: whether one of them is kept.
      left_out: reason -> number of right replies that cannot be kept.
      lengths: column of the dataset -> tokens of the kept replies with their question.
    """

    question: TeacherQuestion
    replies: Sequence[Judged]
    kept: bool
    left_out: Counter
    lengths: dict[str, list[int]]

    @property
    def pass_rate(self) -> float | None:
        """The share of right replies among those that could be judged; None if there are none."""
        known = [reply.outcome == RIGHT for reply in self.replies if reply.outcome in KNOWN]
        return sum(known) / len(known) if known else None


def bucket(rate: float | None) -> str:
    """Returns the entry of BUCKETS for a pass rate; "unknown" if no reply could be judged."""
    if rate is None:
        return "unknown"
    if rate in (0.0, 1.0):
        return "0" if rate == 0.0 else "1"
    return BUCKETS[1 + int(np.searchsorted((0.25, 0.5, 0.75), rate))]


def count(entries: Sequence[Entry]) -> dict[str, Any]:
    """Counts the outcomes of some questions. `kept` and `questions_right` count questions, the others replies."""
    replies = [reply.outcome for entry in entries for reply in entry.replies]
    found, left_out = Counter(replies), sum((entry.left_out for entry in entries), Counter())
    known = sum(found[name] for name in KNOWN)
    rates = Counter(bucket(entry.pass_rate) for entry in entries)
    return {
        "questions": len(entries),
        "asked": len(replies),
        **{name: found[name] for name in OUTCOMES},
        "questions_right": sum(RIGHT in {r.outcome for r in e.replies} for e in entries),
        "kept": sum(entry.kept for entry in entries),
        "too_long": left_out["too_long"],
        "not_encodable": left_out["not_encodable"],
        "without_thoughts": left_out["without_thoughts"],
        "pass_rate": found[RIGHT] / known if known else None,
        "pass_rates": {name: rates[name] for name in BUCKETS if rates[name]},
        "kept_tokens": _lengths(entries),
    }


def _lengths(entries: Sequence[Entry]) -> dict[str, Any]:
    """Returns mean and quantiles of the tokens of each column."""
    columns = dict.fromkeys(name for entry in entries for name in entry.lengths)
    found = {name: [x for e in entries for x in e.lengths.get(name, ())] for name in columns}
    return {name: _quantiles(lengths) for name, lengths in found.items() if lengths}


def _quantiles(lengths: list[int]) -> dict[str, float]:
    found = np.quantile(lengths, QUANTILES, method="higher")
    return {"mean": float(np.mean(lengths))} | {
        f"p{100 * q:g}": float(x) for q, x in zip(QUANTILES, found, strict=True)
    }


def tell(entries: Sequence[Entry], difficulty: str) -> dict[str, Any]:
    """Returns the yield of a pass: in all, by source, by pass rate, and by the column `difficulty` if there is one."""
    told = {
        "all": count(entries),
        "by_source": _by(entries, lambda entry: entry.question.source),
        "by_pass_rate": _by(entries, lambda entry: bucket(entry.pass_rate), BUCKETS.index),
    }
    if difficulty:
        told["by_difficulty"] = _by(entries, lambda entry: _value(entry, difficulty))
    return told


def _value(entry: Entry, column: str) -> str:
    value = entry.question.example.metadata.get(column)
    return "unknown" if is_missing(value) else str(value)


def _by(
    entries: Sequence[Entry],
    name_of: Callable[[Entry], str],
    order: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(name_of(entry), []).append(entry)
    return {name: count(groups[name]) for name in sorted(groups, key=order or _numbers_first)}


def _numbers_first(name: str) -> tuple[bool, float, str]:
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    # NaN is not ordered among numbers, so it is text.
    return (True, 0.0, name) if math.isnan(number) else (False, number, name)


def ungraded_share(told: dict[str, Any]) -> float:
    """Returns the share of finished replies that have no answer or no grade."""
    lost = told["no_answer"] + told["malformed"] + told[NOT_GRADABLE]
    finished = told["asked"] - told["unfinished"]
    return lost / finished if finished else 0.0
