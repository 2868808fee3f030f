"""Followed arms at equal scores in math: rows of summary.json.

A run is read where its math, joined by straight lines between its evaluated steps, first reaches a score. An arm
reaches what all of its seeds reach. Scores are compared at the highest that two arms reach, at the highest that half of
those do which gained, and at the highest that all of these do. In each resample of the questions both that score and
the places are found anew.
"""

import itertools
import zlib
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxreason.report.files import Reader, Study
from jaxreason.report.scores import Resampling
from jaxreason.report.steps import BACKWARD_KL, FORWARD_KL, TRAINING_KL, Progress, Run, kl_of
from jaxreason.report.trajectory_rows import by_arm
from jaxreason.results.groups import MATH, REST
from jaxreason.results.matched import at_place, first_place, reach
from jaxreason.results.statistics import percentiles, resampled_seeds

DRIFTS = {"kl_training": TRAINING_KL, "kl_forward": FORWARD_KL, "kl_reverse": BACKWARD_KL}
MOST_PAIRED = 4  # arms that are also compared two by two


def matched_rows(
    reader: Reader, study: Study, progress: Progress, how: Resampling
) -> list[dict[str, Any]]:
    """A row a score at which arms of one base are compared; none where math or all else was not measured."""
    if not {MATH, REST} <= set(progress.levels):
        return []
    rows = []
    for base in study.bases:
        arms = [runs for runs in by_arm(progress.runs) if runs[0].arm.base == base.name]
        rows += _of_base(reader, study, progress, arms, how)
    return rows


def _of_base(reader, study, progress: Progress, arms: list[list[Run]], how) -> list[dict[str, Any]]:
    highest = [(_reach(progress, runs), runs) for runs in arms]
    gained = [(top, runs) for top, runs in highest if top > progress.scores(runs[0], MATH)[0]]
    gained.sort(key=lambda pair: -pair[0])
    rows = []
    for count in dict.fromkeys((2, -(-len(gained) // 2), len(gained))):
        if 2 <= count <= len(gained):
            members = [runs for _, runs in gained[:count]]
            below = [(top, runs) for top, runs in highest if runs not in members]
            rows.append(_row(reader, study, progress, members, below, how))
    return rows


def _reach(progress: Progress, runs: list[Run]) -> float:
    return min(float(progress.scores(run, MATH).max()) for run in runs)


def _row(reader, study, progress: Progress, arms, below, how: Resampling) -> dict[str, Any]:
    """One score: the lowest of what these arms reach."""
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


def _arm(reader, study, progress: Progress, runs, target, targets, how) -> dict[str, Any]:
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
        groups[group] = _interval(runs, at, pooled, how)
        rest = pooled if group == REST else rest
    steps = [
        at_place(np.array([list(r.places)], float), p)[0] for r, p in zip(runs, places, strict=True)
    ]
    drift = {
        name: _drift(reader, study, runs, places, measure, how) for name, measure in DRIFTS.items()
    }
    return {
        "arm": runs[0].arm.name,
        "step": float(np.mean(steps)),
        "groups": groups,
        "drift": {name: value for name, value in drift.items() if value is not None},
        "draws": rest,
    }


def _drift(reader, study, runs, places, measure, how) -> dict[str, Any] | None:
    """A KL where the run reaches the score, between the steps; the base has 0."""
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


def _pooled(draws: Float[np.ndarray, "R S"], runs: list[Run], how: Resampling) -> np.ndarray:
    seed = how.seed, zlib.crc32(runs[0].arm.name.encode())
    return resampled_seeds(draws, np.random.default_rng(seed))


def _interval(runs: list[Run], values: list[float], pooled: np.ndarray, how) -> dict[str, Any]:
    low, high = percentiles(pooled, how.confidence)
    seeds = [{"seed": run.seed, "mean": float(x)} for run, x in zip(runs, values, strict=True)]
    return {"mean": float(np.mean(values)), "low": low, "high": high, "seeds": seeds}


def _pair(first: dict, second: dict, how: Resampling) -> dict[str, Any]:
    """The first arm's rest minus the second's, on the same questions."""
    low, high = percentiles(first["draws"] - second["draws"], how.confidence)
    mean = first["groups"][REST]["mean"] - second["groups"][REST]["mean"]
    return {"arm": first["arm"], "against": second["arm"], "mean": mean, "low": low, "high": high}
