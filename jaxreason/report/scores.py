"""Scores of base and arms, and their paired differences: rows of summary.json, in points."""

import statistics
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jaxreason.errors import UserError
from jaxreason.report.files import BASE, MATH, REST, Arm, Evaluation, Study
from jaxreason.report.statistics import (
    Estimate,
    Interval,
    average,
    estimate,
    interval,
    pool_seeds,
    tabulate,
    wilson,
)

Run = tuple[str, int]  # arm and seed


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class Level:
    """A benchmark, a group, or the rest (the mean of all groups but math) under one decoding."""

    decoding: str
    group: str
    benchmark: str | None
    estimate: Estimate
    num_items: int
    columns: dict[Run, int]  # column of each run; column 0 is the base
    num_samples: float  # a question, of the base

    def where(self) -> dict:
        """What identifies the level in a row."""
        return {"decoding": self.decoding, "group": self.group, "benchmark": self.benchmark}


def levels(
    study: Study,
    evaluations: dict[Run | str, Evaluation],
    decoding: str,
    how: Resampling,
) -> tuple[list[Level], list[str]]:
    """Every benchmark and group that the base was evaluated on; and what is missing, in words."""
    base = evaluations[BASE]
    metrics = {
        row["benchmark"]: (row["metric"], row.get("weight"))
        for row in base.rows
        if row["primary"] and row["decoding"] == decoding and row["benchmark"] in study.groups
    }
    metrics = {name: scored for name, scored in metrics.items() if (name, decoding) in base.samples}
    runs, missing = _complete_runs(study, evaluations, decoding, metrics)
    if not metrics:
        return [], [f"The base has no {decoding} samples."]
    columns = {run: number for number, run in enumerate(runs, 1)}
    found = []
    for group in study.group_names():
        members = [b for b in study.benchmarks(group) if b in metrics]
        parts = [_benchmark(b, metrics[b], evaluations, runs, decoding, how) for b in members]
        for name, (part, count, each) in zip(members, parts, strict=True):
            found.append(Level(decoding, group, name, part, count, columns, each))
        if parts:
            estimates, counts, each = zip(*parts, strict=True)
            whole = average(estimates)
            found.append(
                Level(decoding, group, None, whole, sum(counts), columns, float(np.mean(each)))
            )
    rest = [level for level in found if level.benchmark is None and level.group != MATH]
    if rest and len(rest) < len([level for level in found if level.benchmark is None]):
        whole, count = (
            average([level.estimate for level in rest]),
            sum(level.num_items for level in rest),
        )
        found.append(Level(decoding, REST, None, whole, count, columns, rest[0].num_samples))
    return found, missing


def _complete_runs(study, evaluations, decoding, metrics) -> tuple[list[Run], list[str]]:
    runs, missing = [], []
    for arm, seed in study.runs():
        run = (arm.name, seed)
        if run not in evaluations:
            continue
        absent = [b for b in metrics if (b, decoding) not in evaluations[run].samples]
        if absent:
            names = ", ".join(study.labels.get(b, b) for b in absent)
            missing.append(
                f"{arm.label}, seed {seed}: no {decoding} samples of {names}, so left out there."
            )
        else:
            runs.append(run)
    return runs, missing


def _benchmark(name, scored, evaluations, runs, decoding, how) -> tuple[Estimate, int, float]:
    samples = [evaluations[model].samples[name, decoding] for model in (BASE, *runs)]
    items = tabulate(samples, *scored)
    if not len(items.sums):
        raise UserError(
            f"{name}.{decoding}: the models were not asked a single question in common."
        )
    seed = (how.seed, zlib.crc32(f"{name}.{decoding}".encode()))
    return estimate(items, how.resamples, seed), len(items.sums), float(items.sizes[:, 0].mean())


def score_rows(study: Study, found: list[Level], how: Resampling) -> list[dict]:
    """Mean scores of the base and of every arm over its seeds, at every level."""
    rows = []
    for level in found:
        rows.append(_score_row(level, BASE, [0], {}, how))
        for arm, seeds in _arms(study, level):
            rows.append(_score_row(level, arm.name, list(seeds.values()), seeds, how))
    return rows


def _arms(study: Study, level: Level) -> Iterator[tuple[Arm, dict[int, int]]]:
    """Arms with at least one evaluated seed, and the column of each seed."""
    for arm in study.arms:
        seeds = {s: level.columns[arm.name, s] for s in arm.seeds if (arm.name, s) in level.columns}
        if seeds:
            yield arm, seeds


def _score_row(level: Level, model: str, columns: list[int], seeds: dict, how: Resampling) -> dict:
    means, draws = level.estimate.means[columns], level.estimate.draws[:, columns]
    found = _interval(level, means, draws, model, how)
    each = [
        {
            "seed": s,
            **_points(
                _interval(
                    level, level.estimate.means[[c]], level.estimate.draws[:, [c]], model, how
                )
            ),
        }
        for s, c in seeds.items()
    ]
    counts = {"num_items": level.num_items, "num_samples": level.num_samples}
    return level.where() | {"model": model, **_points(found), **counts, "seeds": each}


def _interval(
    level: Level, means: np.ndarray, draws: np.ndarray, name: str, how: Resampling
) -> Interval:
    mean = float(means.mean())
    if level.benchmark is not None and mean in (0.0, 1.0) and not np.ptp(draws):
        z = statistics.NormalDist().inv_cdf(0.5 + how.confidence / 2)
        return wilson(mean, level.num_items, z)
    pooled = pool_seeds(draws, (how.seed, zlib.crc32(name.encode())))
    return interval(mean, pooled, how.confidence)


def _points(found: Interval) -> dict[str, float | None]:
    return {
        name: 100 * value if np.isfinite(value) else None for name, value in found._asdict().items()
    }


def difference_rows(study: Study, found: list[Level], how: Resampling) -> list[dict]:
    """Every arm minus the base at every level, paired over items; with each seed's own, and a
    verdict.
    """
    rows = []
    for level in found:
        means, draws = level.estimate
        for arm, seeds in _arms(study, level):
            columns = list(seeds.values())
            gains, drawn = means[columns] - means[0], draws[:, columns] - draws[:, :1]
            whole = interval(gains.mean(), pool_seeds(drawn, _seed(arm, how)), how.confidence)
            each = [
                {"seed": s, **_points(interval(gains[i], drawn[:, i], how.confidence))}
                for i, s in enumerate(seeds)
            ]
            row = level.where() | {"arm": arm.name, **_points(whole), "num_items": level.num_items}
            rows.append(row | {"seeds": each, "verdict": verdict(whole, gains)})
    return rows


def _seed(arm: Arm, how: Resampling) -> tuple[int, int]:
    return (how.seed, zlib.crc32(arm.name.encode()))


def verdict(whole: Interval, each: np.ndarray) -> str:
    """`up` or `down` if the interval leaves out 0 and every seed went that way, else `unclear`."""
    if whole.low > 0 and (each > 0).all():
        return "up"
    if whole.high < 0 and (each < 0).all():
        return "down"
    return "unclear"


def arm_difference_rows(study: Study, found: list[Level], how: Resampling) -> list[dict]:
    """Every arm minus every later arm, for groups: paired over items, seeds resampled on both
    sides.
    """
    rows = []
    for level in (level for level in found if level.benchmark is None):
        pooled = {}
        for arm, seeds in _arms(study, level):
            columns = list(seeds.values())
            draws = pool_seeds(level.estimate.draws[:, columns], _seed(arm, how))
            pooled[arm.name] = level.estimate.means[columns].mean(), draws
        names = list(pooled)
        for number, first in enumerate(names):
            for second in names[number + 1 :]:
                (a, a_draws), (b, b_draws) = pooled[first], pooled[second]
                points = _points(interval(a - b, a_draws - b_draws, how.confidence))
                rows.append(level.where() | {"arm": first, "against": second, **points})
    return rows
