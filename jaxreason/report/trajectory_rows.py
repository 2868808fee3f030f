"""Scores, index and KL of every followed arm against the step: rows of summary.json."""

import zlib
from typing import Any

import numpy as np

from jaxreason.report.files import Reader, Study
from jaxreason.report.scores import Resampling
from jaxreason.report.steps import (
    BACKWARD_KL,
    FORWARD_KL,
    TRAINING_KL,
    Measure,
    Progress,
    Run,
    kl_of,
)
from jaxreason.report.transfer_tables import one_mode
from jaxreason.results.groups import MATH, REST
from jaxreason.results.statistics import percentiles, resampled_seeds

KLS = {"kl_training": TRAINING_KL, "kl_forward": FORWARD_KL, "kl_reverse": BACKWARD_KL}
FIXED = "paper_scales"  # the mode whose constants are the same at every step


def curve_rows(
    reader: Reader, study: Study, progress: Progress, how: Resampling
) -> list[dict[str, Any]]:
    """A row a curve and arm: `points` with step, mean over seeds, interval and each seed's own value.

    `math` is the score; `gain` its change from the base; `loss` what the other groups lost; all in points.
    """
    rows = []
    for runs in by_arm(progress.runs):
        of_runs = [_scores_of(progress, run) for run in runs]
        of_runs = [x | _kls_of(reader, study, run) for x, run in zip(of_runs, runs, strict=True)]
        for curve in dict.fromkeys(name for found in of_runs for name in found):
            rows.append(_row(runs, curve, [found.get(curve, {}) for found in of_runs], how))
        rows += _index_rows(runs, progress.decoding)
    return rows


def by_arm(runs: tuple[Run, ...]) -> list[list[Run]]:
    """The runs of each arm."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.arm.name, []).append(run)
    return list(found.values())


Curve = dict[int, tuple[float, np.ndarray]]  # step -> value and its resamples


def _scores_of(progress: Progress, run: Run) -> dict[str, Curve]:
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if MATH in progress.levels:
        scores, draws = progress.scores(run, MATH), progress.draws(run, MATH)
        found = {"math": (scores, draws), "gain": (scores - scores[0], draws - draws[:, :1])}
    if REST in progress.levels:
        found["loss"] = progress.loss(run), progress.loss_draws(run)
    steps = list(run.places)
    return {
        name: {step: (float(mean[i]), draws[:, i]) for i, step in enumerate(steps)}
        for name, (mean, draws) in found.items()
    }


def _kls_of(reader: Reader, study: Study, run: Run) -> dict[str, Curve]:
    groups = study.group_names()
    found = {name: _kl_of(reader, run, measure, groups) for name, measure in KLS.items()}
    return {name: curve for name, curve in found.items() if curve}


def _kl_of(reader: Reader, run: Run, measure: Measure, groups: tuple[str, ...]) -> Curve:
    """The KL of the steps where it was measured; the base has 0 from itself."""
    each = {step: kl_of(reader, run, step, measure, groups) for step in run.steps()}
    made = {step: (kl.value, kl.draws) for step, kl in each.items() if kl is not None}
    return {0: (0.0, np.zeros_like(next(iter(made.values()))[1]))} | made if made else {}


def _row(runs: list[Run], curve: str, found: list[Curve], how: Resampling) -> dict[str, Any]:
    arm = runs[0].arm.name
    seed = how.seed, zlib.crc32(arm.encode())
    points = []
    for step in sorted({step for values in found for step in values}):
        there = [(run.seed, *x[step]) for run, x in zip(runs, found, strict=True) if step in x]
        draws = np.stack([draw for *_, draw in there], axis=1)
        pooled = resampled_seeds(draws, np.random.default_rng(seed))
        if curve.startswith("kl"):
            pooled = np.maximum(pooled, 0)  # stretching must not make a distance negative
        low, high = percentiles(pooled, how.confidence)
        mean = float(np.mean([value for _, value, _ in there]))
        seeds = [{"seed": number, "mean": value} for number, value, _ in there]
        points.append({"step": step, "mean": mean, "low": low, "high": high, "seeds": seeds})
    return {"arm": arm, "curve": curve, "group": None, "mode": None, "points": points}


def _index_rows(runs: list[Run], decoding: str) -> list[dict[str, Any]]:
    """The index of each seed, as its trajectory has it; an arm's is the mean where every seed has one."""
    rows = [
        {"step": step["step"], "seed": run.seed} | row
        for run in runs
        for step in run.trajectory["steps"]
        for row in step["index"]
        if row["decoding"] == decoding and step["step"] in run.places
    ]
    modes = {row["mode"] for row in rows}
    mode = FIXED if FIXED in modes else one_mode(rows)
    found = []
    for group in dict.fromkeys(row["group"] for row in rows):
        members = [row for row in rows if (row["mode"], row["group"]) == (mode, group)]
        about = {"arm": runs[0].arm.name, "curve": "index", "group": group, "mode": mode}
        points = [_index_point([r for r in members if r["step"] == s]) for s in _steps(members)]
        found.append(about | {"points": points})
    return found


def _steps(rows: list[dict]) -> list[int]:
    return sorted({row["step"] for row in rows})


def _index_point(rows: list[dict]) -> dict[str, Any]:
    seeds = [{"seed": row["seed"], "mean": row["ti"]} for row in rows]
    values = [row["ti"] for row in rows]
    mean = None if None in values else float(np.mean(values))
    alone = rows[0] if len(rows) == 1 else {}
    ends = {"low": alone.get("low"), "high": alone.get("high")}
    return {"step": rows[0]["step"], "mean": mean, **ends, "seeds": seeds}
