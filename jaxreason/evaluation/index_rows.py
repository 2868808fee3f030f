"""Rows of transfer.json: the index of every comparison in every mode, and without each benchmark."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jaxreason.evaluation.transfer_index import (
    DEGREES,
    gain_and_drop,
    scale_of,
    signed_log,
    transfer_index,
    why_undefined,
)
from jaxreason.evaluation.transfer_inputs import ALL_SEEDS, Comparison, GroupScores, resamples_of
from jaxreason.results.groups import MATH, groups_in_order
from jaxreason.results.statistics import interval_of_ratio

ENDS = ("low", "high", "di_low", "di_high", "di_math_low", "di_math_high")


def index_rows(
    comparison: Comparison,
    modes: Sequence[str],
    scales: dict[str, float],
    confidence: float,
    resamples: int,
    seed: int,
) -> list[dict]:
    """Returns a row for each mode and each group except math: index, degrees and their intervals, gain and drop.

    Args:
      comparison: of a tuned model with its base.
      modes: keys of `DEGREES`.
      scales: deviation of the gains of each group, for `v2_pooled`.
      confidence, resamples, seed: of the intervals.
    """
    draws = resamples_of(comparison, resamples, seed)
    rows = []
    for mode in modes:
        drawn = {
            name: DEGREES[mode](*scores, scale_of(mode, name, scales))
            for name, scores in draws.items()
        }
        for name in _others(comparison):
            row = _index(comparison, mode, name, scales)
            row |= _intervals(drawn, name, row["undefined"] is None, confidence)
            rows.append(row | _gains(comparison, name))
    return rows


def _others(comparison: Comparison) -> list[str]:
    return [name for name in groups_in_order(comparison.groups) if name != MATH]


def _index(
    comparison: Comparison, mode: str, name: str, scales: dict[str, float]
) -> dict[str, Any]:
    """Returns the degrees and the index of a group, or why there is none."""
    undefined = _reason(comparison, mode, name, scales)
    degree, degree_math = (_degree(comparison, mode, group, scales) for group in (name, MATH))
    index = None if undefined else float(transfer_index(degree, degree_math))
    about = {"model": comparison.model, "arm": comparison.arm, "base": comparison.base}
    about |= {"seed": comparison.seed, "decoding": comparison.decoding, "mode": mode}
    return about | {
        "group": name,
        "ti": index,
        "di": _number(degree),
        "di_math": _number(degree_math),
        "undefined": undefined or None,
        "signed_log_ti": None if index is None else float(signed_log(np.array(index))),
    }


def _degree(comparison: Comparison, mode: str, group: str, scales: dict[str, float]) -> float:
    if group not in comparison.groups:
        return math.nan
    scores = comparison.groups[group]
    return float(DEGREES[mode](scores.base, scores.tuned, scale_of(mode, group, scales)))


def _reason(comparison: Comparison, mode: str, name: str, scales: dict[str, float]) -> str:
    for group in (MATH, name):
        if group not in comparison.groups:
            return f"{group}: no benchmark was run with this decoding"
        members = comparison.groups[group]
        scale = scale_of(mode, group, scales)
        reason = why_undefined(mode, group, members.names, members.base, members.tuned, scale)
        if reason:
            return reason
    degree = _degree(comparison, mode, MATH, scales)
    if not np.isfinite(transfer_index(1.0, degree)):
        return f"{MATH} did not gain: its degree is {degree:.3g}, and the index needs one above 0"
    return ""


def _intervals(drawn: dict, name: str, is_defined: bool, confidence: float) -> dict[str, Any]:
    row = dict.fromkeys(ENDS) | {"undefined_share": None, "note": None}
    if name not in drawn or MATH not in drawn:
        return row | {"note": "no interval: neither samples nor numbers of questions are known"}
    row["di_low"], row["di_high"], _ = interval_of_ratio(drawn[name], confidence)
    row["di_math_low"], row["di_math_high"], _ = interval_of_ratio(drawn[MATH], confidence)
    if not is_defined:
        return row
    row["low"], row["high"], share = interval_of_ratio(
        transfer_index(drawn[name], drawn[MATH]), confidence
    )
    row["undefined_share"] = share
    if row["low"] is None or row["high"] is None:
        row["note"] = f"the interval has no end: undefined in {100 * share:.1f} % of the resamples"
    return row


def _gains(comparison: Comparison, name: str) -> dict[str, float | None]:
    found = {}
    for group, suffix in ((name, ""), (MATH, "_math")):
        scores = comparison.groups.get(group)
        gain, drop = (math.nan,) * 2 if scores is None else gain_and_drop(scores.base, scores.tuned)
        found |= {f"gain{suffix}": _number(gain), f"drop{suffix}": _number(drop)}
    return found


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def sensitivity_rows(
    comparisons: Sequence[Comparison], modes: Sequence[str], scales: dict[str, float]
) -> list[dict]:
    """Returns the index without each benchmark of the group and of math in turn; no intervals.

    Deviations stay unchanged, except those that a mode computes from the gains themselves. For an arm with several
    seeds only all seeds together are used.
    """
    whole = {c.arm for c in comparisons if c.seed == ALL_SEEDS}
    rows = []
    for comparison in comparisons:
        if comparison.seed != ALL_SEEDS and comparison.arm in whole:
            continue
        for mode in modes:
            for name in _others(comparison):
                for group in (name, MATH):
                    members = comparison.groups.get(group)
                    for left_out in () if members is None else members.names:
                        rows.append(index_without(comparison, (left_out,), mode, name, scales))
    return rows


def index_without(
    comparison: Comparison, names: Collection[str], mode: str, group: str, scales: dict[str, float]
) -> dict[str, Any]:
    """Returns the row of one mode and group without these benchmarks: its index and degrees, or why there is none."""
    groups = {key: _without(scores, names) for key, scores in comparison.groups.items()}
    kept = {key: scores for key, scores in groups.items() if scores.names}
    row = _index(dataclasses.replace(comparison, groups=kept), mode, group, scales)
    gone = [key for key in (MATH, group) if key in groups and key not in kept]
    if gone:
        row["undefined"] = f"{gone[0]}: no other benchmark is left"
    del row["signed_log_ti"]
    return row | {"without": ", ".join(names)}


def _without(scores: GroupScores, names: Collection[str]) -> GroupScores:
    kept = [number for number, name in enumerate(scores.names) if name not in names]
    return GroupScores(
        tuple(scores.names[number] for number in kept),
        scores.base[kept],
        scores.tuned[kept],
        None,
        None,
    )
