"""Followed arms compared at equal math scores: rows, table and figure.

The scores of a run are joined by straight lines between its evaluated steps. The run is read at the place where its
math first reaches a target score. An arm reaches a score when all of its seeds do. The targets are: the highest score
that two arms reach, the highest that half of the arms with a gain reach, and the highest that all of those reach. In
each resample of the questions both the target and the places are found again.

A place is a position in the list of a run's evaluated steps: 1.5 is half-way between the second and the third.
"""

import itertools
import zlib
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxreason.report.evaluated_steps import EvaluatedRun, StepScores, kl_of
from jaxreason.report.report_tables import Cell, Table, TableRow
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Reader, Study
from jaxreason.report.style import draw_row, grid, least_span, looks, name_rows
from jaxreason.report.trajectories import DRIFT_PANELS, KLS, LEAST_KL, PANELS, by_arm
from jaxreason.report.wording import (
    arm_labels,
    decimals,
    decoding_label,
    group_label,
    join_words,
    plain_number,
    signed,
)
from jaxreason.results.groups import MATH, REST
from jaxreason.results.statistics import percentiles, resampled_seeds

MOST_PAIRED = 4  # Arms that are also compared pairwise.
DRIFT_LABELS = {
    "kl_training": "KL, training prompts",
    "kl_forward": "KL(base ‖ tuned)",
    "kl_reverse": "KL(tuned ‖ base)",
}


def reach(scores: Float[np.ndarray, "R S"]) -> Float[np.ndarray, " R"]:
    """Returns the highest score up to the last step."""
    return scores.max(1)


def first_place(
    scores: Float[np.ndarray, "R S"], target: Float[np.ndarray, " R"]
) -> Float[np.ndarray, " R"]:
    """Returns the first place at which the lines reach `target`: 0 if the base does, NaN if none does."""
    there = scores >= target[:, None]
    step = there.argmax(1)
    before = np.maximum(step - 1, 0)
    low, high = (np.take_along_axis(scores, i[:, None], 1)[:, 0] for i in (before, step))
    with np.errstate(invalid="ignore", divide="ignore"):
        place = np.where(step == 0, 0.0, before + (target - low) / (high - low))
    return np.where(there.any(1), place, np.nan)


def at_place(
    values: Float[np.ndarray, "R S"], place: Float[np.ndarray, " R"]
) -> Float[np.ndarray, " R"]:
    """Returns the value on the lines at a place; NaN if the place is NaN."""
    sound = np.nan_to_num(place)
    before = np.minimum(np.floor(sound).astype(int), max(values.shape[1] - 2, 0))
    after = np.minimum(before + 1, values.shape[1] - 1)
    low, high = (np.take_along_axis(values, i[:, None], 1)[:, 0] for i in (before, after))
    return np.where(np.isnan(place), np.nan, low + (sound - before) * (high - low))


def matched_rows(
    reader: Reader, study: Study, progress: StepScores, how: Resampling
) -> list[dict[str, Any]]:
    """Returns a row for each score at which arms of one base are compared; none without math or the rest."""
    if not {MATH, REST} <= set(progress.levels):
        return []
    rows = []
    for base in study.bases:
        arms = [runs for runs in by_arm(progress.runs) if runs[0].arm.base == base.name]
        rows += _of_base(reader, study, progress, arms, how)
    return rows


def _of_base(
    reader, study, progress: StepScores, arms: list[list[EvaluatedRun]], how
) -> list[dict[str, Any]]:
    highest = [(_reach(progress, runs), runs) for runs in arms]
    gained = [(top, runs) for top, runs in highest if top > progress.scores(runs[0], MATH)[0]]
    gained.sort(key=lambda pair: -pair[0])
    counts = (2, -(-len(gained) // 2), len(gained))
    rows = []
    for target in dict.fromkeys(gained[n - 1][0] for n in counts if 2 <= n <= len(gained)):
        members = [runs for top, runs in gained if top >= target]  # With all that reach just this.
        below = [(top, runs) for top, runs in highest if runs not in members]
        rows.append(_row(reader, study, progress, members, below, how))
    return rows


def _reach(progress: StepScores, runs: list[EvaluatedRun]) -> float:
    return min(float(progress.scores(run, MATH).max()) for run in runs)


def _row(reader, study, progress: StepScores, arms, below, how: Resampling) -> dict[str, Any]:
    """Returns the row of one score: the lowest of the scores that these arms reach."""
    target = np.array([min(_reach(progress, runs) for runs in arms)])
    each = [reach(progress.draws(run, MATH)) for runs in arms for run in runs]
    found = [
        _arm(reader, study, progress, runs, target, np.min(each, axis=0), how) for runs in arms
    ]
    pairs = []
    if len(arms) <= MOST_PAIRED:
        pairs = [_pair(first, second, how) for first, second in itertools.combinations(found, 2)]
    return {
        "base": arms[0][0].arm.base,
        "decoding": progress.decoding,
        "math": float(target[0]),
        "arms": [{k: v for k, v in row.items() if k != "draws"} for row in found],
        "pairs": pairs,
        "not_reached": [{"arm": runs[0].arm.name, "math": top} for top, runs in below],
    }


def _arm(reader, study, progress: StepScores, runs, target, targets, how) -> dict[str, Any]:
    places = [first_place(progress.scores(run, MATH)[None], target) for run in runs]
    moved = [first_place(progress.draws(run, MATH), targets) for run in runs]
    groups, rest = {}, np.empty(0)
    for group in (name for name in progress.levels if name != MATH):
        at = [
            at_place(progress.scores(r, group)[None], p)[0]
            for r, p in zip(runs, places, strict=True)
        ]
        drawn = [at_place(progress.draws(r, group), p) for r, p in zip(runs, moved, strict=True)]
        pooled = _pooled(np.stack(drawn, axis=1), runs, how)
        groups[group] = _interval(runs, at, np.clip(pooled, 0, 100), how)
        rest = pooled if group == REST else rest
    steps = [
        at_place(np.array([list(r.places)], float), p)[0] for r, p in zip(runs, places, strict=True)
    ]
    drift = {
        name: _drift(reader, study, runs, places, measure, how) for name, measure in KLS.items()
    }
    return {
        "arm": runs[0].arm.name,
        "step": float(np.mean(steps)),
        "groups": groups,
        "drift": {name: value for name, value in drift.items() if value is not None},
        "draws": rest,
    }


def _drift(reader, study, runs, places, measure, how) -> dict[str, Any] | None:
    """Returns a KL at the place where the run reaches the score, between the steps; the base has 0."""
    at, drawn = [], []
    for run, place in zip(runs, places, strict=True):
        each = [kl_of(reader, run, step, measure, study.group_names()) for step in run.steps()]
        if None in each:
            return None
        values = np.array([[0.0, *(kl.value for kl in each)]])
        draws = np.stack([np.zeros_like(each[0].draws), *(kl.draws for kl in each)], axis=1)
        at.append(float(at_place(values, place)[0]))
        drawn.append(at_place(draws, np.full(len(draws), place[0])))
    pooled = np.maximum(_pooled(np.stack(drawn, axis=1), runs, how), 0)
    return _interval(runs, at, pooled, how)


def _pooled(
    draws: Float[np.ndarray, "R S"], runs: list[EvaluatedRun], how: Resampling
) -> np.ndarray:
    seed = how.seed, zlib.crc32(runs[0].arm.name.encode())
    return resampled_seeds(draws, np.random.default_rng(seed))


def _interval(
    runs: list[EvaluatedRun], values: list[float], pooled: np.ndarray, how
) -> dict[str, Any]:
    low, high = percentiles(pooled, how.confidence)
    seeds = [{"seed": run.seed, "mean": float(x)} for run, x in zip(runs, values, strict=True)]
    return {"mean": float(np.mean(values)), "low": low, "high": high, "seeds": seeds}


def _pair(first: dict, second: dict, how: Resampling) -> dict[str, Any]:
    """Returns the first arm's rest minus the second arm's, on the same questions."""
    low, high = percentiles(first["draws"] - second["draws"], how.confidence)
    mean = first["groups"][REST]["mean"] - second["groups"][REST]["mean"]
    return {"arm": first["arm"], "against": second["arm"], "mean": mean, "low": low, "high": high}


def matched_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws scores outside math and KL of the arms, each where it first reaches the same score in math."""
    rows = summary["over_training"]["matched"]
    panels = [(row, *part) for row in rows for part in _parts(row)]
    if not panels:
        return None
    labels, look = arm_labels(summary), looks(summary)
    most = max(len(row["arms"]) for row in rows)
    columns = max(len(_parts(row)) for row in rows)
    figure, axes = grid(len(panels), columns, 0.9 + 0.28 * most, narrow)
    for number, (panel, (row, kind, name)) in enumerate(zip(axes, panels, strict=True)):
        arms = [arm for arm in row["arms"] if name in arm[kind]]
        for y, arm in enumerate(arms):
            draw_row(panel, y, arm[kind][name], look[arm["arm"]])
        names = [arm["arm"] for arm in arms]
        colours = [look[n].colour for n in names]
        name_rows(panel, range(len(arms)), [labels[n] for n in names], colours)
        panel.tick_params(labelleft=narrow or number % columns == 0)
        title = group_label(name) if kind == "groups" else PANELS[name][0]
        panel.set_title(f"{title}\nat {plain_number(row['math'])} math", fontsize=8.5)
        panel.set_xlabel("score (points)" if kind == "groups" else "nats per token")
        if kind == "drift":
            panel.set_xlim(left=0)
    least_span(axes, "x", LEAST_KL)
    return figure


def _parts(row: dict) -> list[tuple[str, str]]:
    """Returns the parts of a row that are drawn: each group outside math, and the KL closest to the training."""
    groups = [name for name in row["arms"][0]["groups"] if name != REST]
    there = [name for name in DRIFT_PANELS if all(name in arm["drift"] for arm in row["arms"])]
    return [*(("groups", name) for name in groups), *(("drift", name) for name in there[:1])]


def matched_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per score: the arms, each where it first reaches this score in math."""
    return [_matched_table(summary, row) for row in summary["over_training"]["matched"]]


def _matched_table(summary: dict, row: dict) -> Table:
    labels, rows = arm_labels(summary), []
    groups = [name for name in row["arms"][0]["groups"] if name != REST]
    drifts = [name for name in DRIFT_LABELS if all(name in arm["drift"] for arm in row["arms"])]
    digits = {n: decimals([arm["drift"][n]["mean"] for arm in row["arms"]]) for n in drifts}
    for arm in row["arms"]:
        cells = [
            Cell(plain_number(arm["step"], 0)),
            *(_interval_cell(arm["groups"][g], 1) for g in (*groups, REST)),
        ]
        cells += [_interval_cell(arm["drift"][n], digits[n]) for n in drifts]
        rows.append(TableRow(labels[arm["arm"]], tuple(cells)))
    columns = ("step", *map(group_label, (*groups, REST)), *(DRIFT_LABELS[n] for n in drifts))
    reached = f"Where each arm first reaches {plain_number(row['math'])} points in math."
    text = f"{decoding_label(row['decoding'])}. {reached}"
    return Table(text, columns, tuple(rows), notes=tuple(_notes(row, labels)))


def _interval_cell(value: dict, digits: int) -> Cell:
    ends = f"{plain_number(value['low'], digits)} to {plain_number(value['high'], digits)}"
    return Cell(plain_number(value["mean"], digits), ends)


def _notes(row: dict, labels: dict[str, str]) -> list[str]:
    notes = [
        f"{labels[pair['arm']]} minus {labels[pair['against']]}, the rest: {signed(pair['mean'])} "
        f"({plain_number(pair['low'])} to {plain_number(pair['high'])})."
        for pair in row["pairs"]
    ]
    below = [
        f"{labels[other['arm']]} ({plain_number(other['math'])})" for other in row["not_reached"]
    ]
    if below:
        said = "Left out, since not all seeds reach that score (in brackets what all reach): "
        notes.append(f"{said}{join_words(below)}.")
    return notes
