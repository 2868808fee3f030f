"""Points lost outside math fitted against every measure of drift: rows of summary.json.

A point is a step of a run, or a final model where its run was not followed. The base, which every run shares, is none.
"""

import zlib
from typing import Any

import numpy as np

from jaxreason.report.files import Reader, Study
from jaxreason.report.scores import Resampling
from jaxreason.report.steps import MEASURES, Measure, Progress, drift_of
from jaxreason.results.fits import Fit, Points, fit, predict, resampled_runs, why_undefined
from jaxreason.results.statistics import interval_of_ratio, percentiles

DEGREES = {"linear": 1, "quadratic": 2}
LEAST_RUNS = 3  # of fewer a resample says little
CURVE = 25  # places at which a fitted curve is kept


def forgetting_rows(
    reader: Reader, study: Study, progress: Progress, how: Resampling
) -> dict[str, Any]:
    """The points, and fits of each measure: those of most points first, and of these what predicts unseen runs best."""
    points = _points(reader, study, progress)
    runs = list(dict.fromkeys((point["arm"], point["seed"]) for point in points))
    seed = how.seed, zlib.crc32(b"forgetting")
    counts = resampled_runs(max(len(runs), 1), how.resamples, seed)
    fitted = [_fitted(measure, points, runs, counts, how) for measure in MEASURES]
    rows = [row for row in fitted if row is not None]
    _say_first(rows, len(points))
    rows.sort(key=lambda row: (row["num_points"], _or_least(row["unseen"])), reverse=True)
    kept = [{k: v for k, v in row.items() if k != "draws"} for row in rows]
    return {"decoding": progress.decoding, "points": points, "fits": kept, "num_runs": len(runs)}


def _points(reader: Reader, study: Study, progress: Progress) -> list[dict[str, Any]]:
    found = []
    for run in progress.runs:
        loss = progress.loss(run)
        for number, step in enumerate(run.steps(), start=1):
            values, groups = drift_of(reader, run, step), study.group_names()
            measured = {measure.key: measure.of(values, groups) for measure in MEASURES}
            if any(value is not None for value in measured.values()):
                about = {"arm": run.arm.name, "seed": run.seed, "step": step}
                last = step == run.steps()[-1]
                found.append(about | {"last": last, "loss": float(loss[number]), "drift": measured})
    return found


def _fitted(measure: Measure, points, runs, counts, how: Resampling) -> dict[str, Any] | None:
    there = [point for point in points if point["drift"][measure.key] is not None]
    if not there:
        return None
    arrays = Points(
        np.array([point["drift"][measure.key] for point in there]),
        np.array([point["loss"] for point in there]),
        np.array([runs.index((point["arm"], point["seed"])) for point in there]),
    )
    row = {"measure": measure.key, "label": measure.label, "unit": measure.quantity.unit}
    row |= {"num_points": len(there), "num_runs": len(np.unique(arrays.runs))}
    row |= {"best": None, "unseen": None, "first": None, "curve": [], "draws": None}
    fits = {}
    for name, degree in DEGREES.items():
        why = why_undefined(arrays, degree)
        fits[name] = None if why else fit(arrays, degree, counts)
        row[name] = {"undefined": why} if why else _numbers(fits[name], row["num_runs"], how)
    known = {name: found for name, found in fits.items() if found is not None}
    sure = {name: found.unseen for name, found in known.items() if np.isfinite(found.unseen)}
    if known:
        best = max(sure, key=sure.get) if sure else next(iter(known))
        chosen = known[best]
        row |= {"best": best, "unseen": _finite(chosen.unseen), "draws": chosen.r2_draws}
        row["curve"] = _curve(arrays, chosen, row["num_runs"], how)
    return row


def _numbers(found: Fit, num_runs: int, how: Resampling) -> dict[str, Any]:
    """R² three times, the coefficients, and intervals where there are runs enough to resample."""
    sure = num_runs >= LEAST_RUNS
    low, high, _ = interval_of_ratio(found.r2_draws, how.confidence) if sure else (None, None, 0.0)
    coefficients = [
        {"value": value}
        | dict(zip(("low", "high"), _ends(draws, how) if sure else (None, None), strict=True))
        for value, draws in zip(found.coefficients, found.coefficient_draws.T, strict=True)
    ]
    r2 = {"r2": found.r2, "low": low, "high": high, "adjusted": found.adjusted}
    return r2 | {"unseen": _finite(found.unseen), "coefficients": coefficients, "undefined": ""}


def _ends(draws: np.ndarray, how: Resampling) -> tuple[float | None, float | None]:
    return interval_of_ratio(draws, how.confidence)[:2]


def _or_least(value: float | None) -> float:
    return -np.inf if value is None else value


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _curve(points: Points, found: Fit, num_runs: int, how: Resampling) -> list[list[float | None]]:
    """[x, y, low, high] along the fit, from 0 to the largest x."""
    x = np.linspace(min(points.x.min(), 0.0), points.x.max(), CURVE)
    drawn = np.array([predict(draw, x) for draw in found.coefficient_draws])
    ends = [percentiles(column, how.confidence) for column in drawn.T]
    if num_runs < LEAST_RUNS:
        ends = [(None, None)] * CURVE
    y = predict(found.coefficients, x)
    return [[float(a), float(b), *end] for a, b, end in zip(x, y, ends, strict=True)]


def _say_first(rows: list[dict], num_points: int) -> None:
    """In which share of the resamples a measure has the highest R², of those measured at every point."""
    members = [row for row in rows if row["draws"] is not None and row["num_points"] == num_points]
    if len(members) < 2 or members[0]["num_runs"] < LEAST_RUNS:
        return
    draws = np.nan_to_num(np.stack([row["draws"] for row in members]), nan=-np.inf)
    for row, share in zip(members, np.eye(len(members))[draws.argmax(0)].mean(0), strict=True):
        row["first"] = float(share)
