"""Points lost outside math, fitted against every measure of drift: rows, table and figure.

A point is an evaluated step of a run, or its final model if the run was not followed. The base is left out, since all
runs share it.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreason.report.evaluated_steps import MEASURES, DriftMeasure, StepScores, drift_of
from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, arms_in
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, Study
from jaxreason.report.style import (
    GREY,
    INK,
    Look,
    grid,
    least_span,
    legend_below,
    looks,
    true_minus,
    zero_line,
)
from jaxreason.report.trajectories import BAND, LEAST_POINTS
from jaxreason.report.wording import decoding_label, plain_number
from jaxreason.results.fits import Fit, Points, fit, predict, resampled_runs, why_no_fit
from jaxreason.results.statistics import interval_of_ratio

DEGREES = {"linear": 1, "quadratic": 2}
LEAST_RUNS = 3  # With fewer runs, a resample says little.
CURVE = 25  # Places at which a fitted curve is kept.
MARGIN = 0.2  # Of the axis of losses, beyond the points.
MOST_FITTED = 2  # Measures that are drawn.
TIE = 1e-9  # R² that differ by less are equal.


def forgetting_rows(
    reader: Reader, study: Study, progress: StepScores, how: Resampling
) -> dict[str, Any]:
    """Returns the points and each measure's fits: most points first, then best prediction of unseen runs."""
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


def _points(reader: Reader, study: Study, progress: StepScores) -> list[dict[str, Any]]:
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


def _fitted(measure: DriftMeasure, points, runs, counts, how: Resampling) -> dict[str, Any] | None:
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
        why = why_no_fit(arrays, degree)
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
    """Returns three kinds of R², the coefficients, and intervals if there are enough runs to resample."""
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
    """Returns [x, y, low, high] along the fit, from 0 to the largest x."""
    x = np.linspace(min(points.x.min(), 0.0), points.x.max(), CURVE)
    drawn = np.array([predict(draw, x) for draw in found.coefficient_draws])
    # As of the R²: resamples without a fit may lie anywhere, so too many of them leave no end.
    ends = [_ends(column, how) for column in drawn.T]
    if num_runs < LEAST_RUNS:
        ends = [(None, None)] * CURVE
    y = predict(found.coefficients, x)
    return [[float(a), float(b), *end] for a, b, end in zip(x, y, ends, strict=True)]


def _say_first(rows: list[dict], num_points: int) -> None:
    """Adds the share of resamples in which a measure has the highest R², among measures with a value at every point."""
    members = [row for row in rows if row["draws"] is not None and row["num_points"] == num_points]
    if len(members) < 2 or members[0]["num_runs"] < LEAST_RUNS:
        return
    for row, share in zip(members, shares_first([row["draws"] for row in members]), strict=True):
        row["first"] = _finite(float(share))


def shares_first(draws: Sequence[Float[np.ndarray, " R"]]) -> Float[np.ndarray, " m"]:
    """Returns the share of resamples in which each of m measures has the highest R²; NaN if none has a fit of all.

    Measures with an equal R² share a resample, since a line through two points is perfect for all of them. Resamples in
    which a measure has no fit are left out.
    """
    found = np.stack(draws)
    found = found[:, ~np.isnan(found).any(0)]
    if not found.size:
        return np.full(len(found), np.nan)
    first = found >= found.max(0) - TIE
    return (first / first.sum(0)).mean(1)


def forgetting_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws points lost outside math against the KL on training prompts and against the measure that fits best."""
    found = summary["over_training"]["forgetting"]
    fits = _drawn(found["fits"]) if found else []
    if not fits:
        return None
    look = looks(summary)
    figure, axes = grid(len(fits), 2, 3.4, narrow, sharey=True)
    for panel, row in zip(axes, fits, strict=True):
        _draw_fit(panel, row)
        for point in found["points"]:
            x = point["drift"][row["measure"]]
            if x is not None:
                _mark(panel, x, point["loss"], look[point["arm"]], last=point["last"])
        zero_line(panel, vertical=False)
        panel.set_title(row["label"] + _r2_text(row), fontsize=8.5)
        panel.set_xlabel(row["unit"])
        panel.set_ylabel("lost outside math (points)")
        panel.set_xlim(left=min(0, panel.get_xlim()[0]))
        panel.set_ylim(_axis_ends([point["loss"] for point in found["points"]]))
        true_minus(panel, "x", "y")
    least_span(axes, "y", LEAST_POINTS)
    legend_below(figure, summary, arms_in(summary, found["points"]), narrow)
    return figure


def _axis_ends(values: list[float]) -> tuple[float, float]:
    """Returns axis ends that show every point; a fit's interval may leave them where no points constrain it."""
    low, high = min(*values, 0.0), max(*values, 0.0)
    return low - MARGIN * (high - low), high + MARGIN * (high - low)


def _drawn(fits: list[dict]) -> list[dict]:
    """Returns the KL on training prompts, if it was measured, and the measures that fit best."""
    sound = [row for row in fits if row["best"]]
    training = [row for row in sound if row["measure"].endswith(".training")]
    others = [row for row in sound if row not in training]
    return (training + others)[:MOST_FITTED]


def _draw_fit(axes: Axes, row: dict) -> None:
    x, y, low, high = zip(*row["curve"], strict=True)
    axes.plot(x, y, color=INK, linewidth=1.2, zorder=3)
    if None not in (*low, *high):
        axes.fill_between(x, low, high, color=GREY, alpha=BAND, linewidth=0)


def _r2_text(row: dict) -> str:
    text = f"\n{row['best']}: R² {plain_number(row[row['best']]['r2'], 2)}"
    if row["unseen"] is not None:
        text += f", {plain_number(row['unseen'], 2)} on unseen runs"
    runs = f"{row['num_runs']} run{'s' if row['num_runs'] > 1 else ''}"
    return text + f"; {row['num_points']} points, {runs}"


def _mark(axes: Axes, x: float, y: float, look: Look, last: bool) -> None:
    """Draws a final model as a filled mark and an earlier step as an open one."""
    style = {"markeredgecolor": look.colour, "markeredgewidth": 0.9, "zorder": 4 if last else 2.5}
    size, face = (5.5, look.colour) if last else (3.4, "white")
    axes.plot(x, y, look.marker, markersize=size, markerfacecolor=face, **style)


def forgetting_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns every measure of drift, ordered by how well it predicts the loss of unseen runs."""
    found = summary["over_training"]["forgetting"]
    if not found:
        return []
    columns = ("points", *("R²", "adjusted", "unseen runs") * 2, "first in")
    spans = (("", 1), ("Linear", 3), ("Quadratic", 3), ("resamples", 1))
    rows = tuple(_measure_row(row) for row in found["fits"])
    text = (
        f"{decoding_label(found['decoding'])}. Points lost outside math, fitted on each measure of drift over "
        f"{len(found['points'])} points of {found['num_runs']} runs."
    )
    return [Table(text, columns, rows, spans, tuple(_said(found)))]


def _measure_row(row: dict) -> TableRow:
    cells = [Cell(str(row["num_points"]))]
    for name in ("linear", "quadratic"):
        fit = row[name]
        cells += (
            [NONE] * 3
            if fit["undefined"]
            else [_r2_cell(fit), _number_cell(fit["adjusted"]), _number_cell(fit["unseen"])]
        )
    first = NONE if row["first"] is None else Cell(f"{100 * row['first']:.0f}\u2009%")
    return TableRow(row["label"], (*cells, first))


def _r2_cell(fit: dict) -> Cell:
    if fit["low"] is None or fit["high"] is None:
        return Cell(plain_number(fit["r2"], 2))
    return Cell(
        plain_number(fit["r2"], 2),
        f"{plain_number(fit['low'], 2)} to {plain_number(fit['high'], 2)}",
    )


def _number_cell(value: float | None) -> Cell:
    return NONE if value is None else Cell(plain_number(value, 2))


def _said(found: dict) -> list[str]:
    """Returns notes on how little a few points say, and on missing fits."""
    runs = found["num_runs"]
    notes = [
        "The checkpoints of a run resemble each other: runs are resampled, and left out whole. With "
        f"{runs} run{'s' if runs != 1 else ''} the order of measures whose intervals overlap is not settled."
    ]
    for row in found["fits"]:
        whys = {n: row[n]["undefined"] for n in ("linear", "quadratic") if row[n]["undefined"]}
        notes += [f"{row['label']}: no {name} fit ({why})." for name, why in whys.items()]
    return notes
