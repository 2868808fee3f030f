"""Followed runs over their training steps: scores, index and KL at every evaluated step (rows and figure)."""

import zlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreason.report.evaluated_steps import (
    BACKWARD_KL,
    FORWARD_KL,
    TRAINING_KL,
    DriftMeasure,
    EvaluatedRun,
    StepScores,
    kl_of,
)
from jaxreason.report.report_tables import arms_in
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, Study
from jaxreason.report.style import (
    GREY,
    Look,
    grid,
    least_span,
    legend_below,
    looks,
    true_minus,
    zero_line,
)
from jaxreason.report.transfer_tables import MODES, one_mode
from jaxreason.report.wording import group_label
from jaxreason.results.groups import MATH, REST
from jaxreason.results.statistics import (
    Interval,
    difference_interval,
    percentiles,
    resampled_seeds,
    seeds_interval,
)

SCORES = {"math": MATH, "gain": MATH, "loss": REST}  # The group of each curve of scores.
KLS = {"kl_training": TRAINING_KL, "kl_forward": FORWARD_KL, "kl_reverse": BACKWARD_KL}
FIXED = "paper_scales"  # The mode whose constants are equal at every step.
Curve = dict[int, tuple[float, np.ndarray]]  # Step -> value and its resamples.
PANELS = {
    "math": ("Math", "score (points)"),
    "loss": ("Lost outside math", "points below the base"),
    "index": ("Transferability index", ""),
    "kl_training": ("KL(base ‖ tuned), training prompts", "nats per token"),
    "kl_forward": ("KL(base ‖ tuned), base's replies", "nats per token"),
    "kl_reverse": ("KL(tuned ‖ base), tuned replies", "nats per token"),
}
DRIFT_PANELS = ("kl_training", "kl_forward", "kl_reverse")
# If one arm has this many times as many steps as another, the axis shows the share of the run.
UNEVEN = 2.0
BAND = 0.13  # Its opacity.
LEAST_POINTS, LEAST_KL, LEAST_X = 1.0, 1e-3, 1.0  # The smallest range that an axis shows.
INDEX_ENDS, INDEX_LINEAR = 1000, 100


def curve_rows(
    reader: Reader, study: Study, progress: StepScores, how: Resampling
) -> list[dict[str, Any]]:
    """Returns one row per curve and arm: `points` with step, mean over seeds, interval and each seed's own value.

    `math` is the score; `gain` its change from the base; `loss` the points that the other groups lost; all in points.
    Their intervals are those that the report has for the score and the difference of one step.
    """
    rows = []
    for runs in by_arm(progress.runs):
        rows += [
            _curve(runs, curve, _score_points(progress, runs, curve, how))
            for curve, group in SCORES.items()
            if group in progress.levels
        ]
        of_runs = [_kls_of(reader, study, run) for run in runs]
        for curve in dict.fromkeys(name for found in of_runs for name in found):
            each = [found.get(curve, {}) for found in of_runs]
            rows.append(_curve(runs, curve, _kl_points(runs, each, how)))
        rows += _index_rows(runs, progress.decoding)
    return rows


def _curve(runs: list[EvaluatedRun], curve: str, points: list[dict]) -> dict[str, Any]:
    return {
        "arm": runs[0].arm.name,
        "curve": curve,
        "group": None,
        "mode": None,
        "points": points,
    }


def by_arm(runs: tuple[EvaluatedRun, ...]) -> list[list[EvaluatedRun]]:
    """Returns the runs of each arm."""
    found: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        found.setdefault(run.arm.name, []).append(run)
    return list(found.values())


def _score_points(
    progress: StepScores, runs: list[EvaluatedRun], curve: str, how: Resampling
) -> list[dict[str, Any]]:
    points = []
    for step in sorted({step for run in runs for step in run.places}):
        there = [run for run in runs if step in run.places]
        values = [_value(progress, run, curve, step) for run in there]
        found = _score_interval(progress, there, curve, step, how)
        ends = {"low": 100 * found.low, "high": 100 * found.high}
        seeds = [{"seed": run.seed, "mean": v} for run, v in zip(there, values, strict=True)]
        points.append({"step": step, "mean": float(np.mean(values)), **ends, "seeds": seeds})
    return points


def _value(progress: StepScores, run: EvaluatedRun, curve: str, step: int) -> float:
    """Returns what one seed has at a step, in points."""
    if curve == "loss":
        scores = progress.loss(run)
    else:
        scores = progress.scores(run, SCORES[curve])
        scores = scores - scores[0] if curve == "gain" else scores
    return float(scores[list(run.places).index(step)])


def _score_interval(
    progress: StepScores, runs: list[EvaluatedRun], curve: str, step: int, how: Resampling
) -> Interval:
    """Returns the interval that the report has for such a score or difference from the base: not of the draws alone,
    which do not vary if all questions came out alike, and may leave the scale once they are stretched.
    """
    found, seed = progress.levels[SCORES[curve]].found, _seed(runs, how)
    columns = [progress.columns(run)[list(run.places).index(step)] for run in runs]
    if curve == "math":  # The base has no seeds: all runs have the same one.
        columns = columns if step else columns[:1]
        return seeds_interval(found, columns, how.confidence, how.resamples, seed)
    if not step:
        return Interval(0.0, 0.0, 0.0, 0, "the base itself")
    base = [progress.columns(runs[0])[0]]
    plus, minus = (base, columns) if curve == "loss" else (columns, base)
    return difference_interval(found, plus, minus, how.confidence, seed)


def _seed(runs: list[EvaluatedRun], how: Resampling) -> tuple[int, int]:
    return how.seed, zlib.crc32(runs[0].arm.name.encode())


def _kls_of(reader: Reader, study: Study, run: EvaluatedRun) -> dict[str, Curve]:
    groups = study.group_names()
    found = {name: _kl_of(reader, run, measure, groups) for name, measure in KLS.items()}
    return {name: curve for name, curve in found.items() if curve}


def _kl_of(
    reader: Reader, run: EvaluatedRun, measure: DriftMeasure, groups: tuple[str, ...]
) -> Curve:
    """Returns the KL of the steps where it was measured; the base has 0 from itself."""
    each = {step: kl_of(reader, run, step, measure, groups) for step in run.steps()}
    made = {step: (kl.value, kl.draws) for step, kl in each.items() if kl is not None}
    return {0: (0.0, np.zeros_like(next(iter(made.values()))[1]))} | made if made else {}


def _kl_points(
    runs: list[EvaluatedRun], found: list[Curve], how: Resampling
) -> list[dict[str, Any]]:
    points = []
    for step in sorted({step for values in found for step in values}):
        there = [(run.seed, *x[step]) for run, x in zip(runs, found, strict=True) if step in x]
        draws = np.stack([draw for *_, draw in there], axis=1)
        pooled = resampled_seeds(draws, np.random.default_rng(_seed(runs, how)))
        # Stretching must not make a distance negative.
        low, high = percentiles(np.maximum(pooled, 0), how.confidence)
        mean = float(np.mean([value for _, value, _ in there]))
        seeds = [{"seed": number, "mean": value} for number, value, _ in there]
        points.append({"step": step, "mean": mean, "low": low, "high": high, "seeds": seeds})
    return points


def _index_rows(runs: list[EvaluatedRun], decoding: str) -> list[dict[str, Any]]:
    """Returns the index of each seed from its trajectory; an arm's index is the mean if every seed has one."""
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


def trajectories_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws math, the loss elsewhere, the index and the KL against the step: means over seeds with intervals."""
    curves = [r for r in summary["over_training"]["curves"] if r["curve"] in PANELS and _defined(r)]
    panels = [
        (name, group)
        for name in PANELS
        for group in dict.fromkeys(row["group"] for row in curves if row["curve"] == name)
    ]
    if not panels:
        return None
    shown, look = arms_in(summary, curves), looks(summary)
    share, lasts = _uneven(curves), _lasts(curves)
    figure, axes = grid(len(panels), 3, 2.5, narrow, sharex=True)
    for panel, (name, group) in zip(axes, panels, strict=True):
        members = [r for r in curves if (r["curve"], r["group"]) == (name, group)]
        for row in members:
            _draw_curve(panel, row, look[row["arm"]], lasts[row["arm"]] if share else None)
        _dress(panel, name, group, members, share)
    least_span(
        [p for p, (n, _) in zip(axes, panels, strict=True) if n[:2] != "kl"], "y", LEAST_POINTS
    )
    least_span([p for p, (n, _) in zip(axes, panels, strict=True) if n[:2] == "kl"], "y", LEAST_KL)
    least_span(axes, "x", LEAST_X)
    legend_below(figure, summary, shown, narrow)
    return figure


def _defined(row: dict) -> bool:
    return any(point["mean"] is not None for point in row["points"])


def _uneven(curves: list[dict]) -> bool:
    """Returns whether arms differ so much in steps that the shortest would look like a point beside the longest."""
    lasts = _lasts(curves).values()
    return max(lasts) > UNEVEN * max(min(lasts), 1)


def _lasts(curves: list[dict]) -> dict[str, int]:
    """Returns the last evaluated step of each arm."""
    found: dict[str, int] = {}
    for row in curves:
        found[row["arm"]] = max(found.get(row["arm"], 1), row["points"][-1]["step"])
    return found


def _draw_curve(axes: Axes, row: dict, look: Look, last: int | None) -> None:
    points = [p for p in row["points"] if p["mean"] is not None]
    x = [100 * p["step"] / last if last else p["step"] for p in points]
    style = {"color": look.colour, "marker": look.marker, "markersize": 3, "linewidth": 1.4}
    axes.plot(x, [p["mean"] for p in points], **style)
    if points and all(p["low"] is not None and p["high"] is not None for p in points):
        ends = [p["low"] for p in points], [p["high"] for p in points]
        axes.fill_between(x, *ends, color=look.colour, alpha=BAND, linewidth=0)


def _dress(axes: Axes, name: str, group: str | None, rows: list[dict], share: bool) -> None:
    title, label = PANELS[name]
    if name == "index":
        title = f"Index, {group_label(group).lower()}"
        label = MODES.get(rows[0]["mode"], rows[0]["mode"])
        axes.set_yscale("symlog", linthresh=INDEX_LINEAR)
        axes.set_ylim(-INDEX_ENDS, INDEX_ENDS)
        axes.set_yticks((-1000, -100, 0, 100, 1000))
        axes.minorticks_off()
        axes.axhline(100, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)))
    if name in ("index", "loss"):
        zero_line(axes, vertical=False)
    if name == "math":
        for base in dict.fromkeys(row["points"][0]["mean"] for row in rows):
            axes.axhline(base, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)))
    if name.startswith("kl"):
        axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.set_xlabel("share of training (%)" if share else "step")
    axes.tick_params(labelbottom=True)
    true_minus(axes, "x", "y")
