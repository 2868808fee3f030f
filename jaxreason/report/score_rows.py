"""Scores of bases and arms, and their paired differences: rows of summary.json, in points."""

import itertools
import zlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxreason.errors import UserError
from jaxreason.report.study_reader import Arm, Evaluation, Study
from jaxreason.results.clusters import cluster, means
from jaxreason.results.grade_files import sample_scores
from jaxreason.results.groups import MATH, REST
from jaxreason.results.significance import false_discovery_rates, paired_significance
from jaxreason.results.statistics import (
    Interval,
    ResampledScores,
    average,
    difference_interval,
    resample_questions,
    seeds_interval,
)

RunKey = tuple[str, int]  # Arm and seed.


@dataclass(frozen=True)
class Resampling:
    """The settings of bootstrap intervals."""

    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class Level:
    """A benchmark, a group, or the rest (the mean of all groups but math) under one decoding."""

    decoding: str
    group: str
    benchmark: str | None
    found: ResampledScores
    num_items: int  # What is resampled: questions, those that belong together as one.
    num_questions: int
    columns: dict[
        RunKey | str, int
    ]  # Of each base (its name) and of each run; a base has the first.
    num_samples: float  # Samples per question, of that base.

    def where(self) -> dict:
        """Returns the columns that identify the level in a row."""
        return {"decoding": self.decoding, "group": self.group, "benchmark": self.benchmark}


def levels(
    study: Study,
    evaluations: dict[RunKey | str, Evaluation],
    decoding: str,
    how: Resampling,
) -> tuple[list[Level], list[str]]:
    """Returns every benchmark and group on which the bases were evaluated, and in words what is missing.

    Raises:
      UserError: the models were not asked the same questions, or a line lacks the metric.
    """
    bases = [base.name for base in study.bases if base.name in evaluations]
    if not bases:
        return [], []
    metrics = {
        row["benchmark"]: (row["metric"], row.get("weight"))
        for row in evaluations[bases[0]].rows
        if row["primary"] and row["decoding"] == decoding and row["benchmark"] in study.groups
    }
    if not metrics:
        return [], [f"The base has no {decoding} samples."]
    models, missing = _complete_models(study, evaluations, decoding, metrics)
    columns = {model: number for number, model in enumerate(models)}
    found = []
    for group in study.group_names():
        members = [
            _benchmark(study, group, name, metrics[name], evaluations, columns, decoding, how)
            for name in study.benchmarks(group)
            if name in metrics
        ]
        found += members
        if members:
            each = float(np.mean([member.num_samples for member in members]))
            found.append(_mean_level(members, group, each))
    groups = [level for level in found if level.benchmark is None]
    rest = [level for level in groups if level.group != MATH]
    if rest and len(rest) < len(groups):
        found.append(_mean_level(rest, REST, rest[0].num_samples))
    return found, missing


def _mean_level(members: list[Level], group: str, num_samples: float) -> Level:
    first, whole = members[0], average([member.found for member in members])
    counts = [sum(x) for x in zip(*((m.num_items, m.num_questions) for m in members), strict=True)]
    return Level(first.decoding, group, None, whole, *counts, first.columns, num_samples)


def _complete_models(study, evaluations, decoding, metrics) -> tuple[list[RunKey | str], list[str]]:
    """Returns the bases, then the runs whose base is there, and what is missing."""
    found, missing = [], []
    labels = {base.name: base.label for base in study.bases}
    labels |= {(arm.name, seed): f"{arm.label}, seed {seed}" for arm, seed in study.runs()}
    needed = {(arm.name, seed): arm.base for arm, seed in study.runs()}
    for model in (model for model in labels if model in evaluations):
        absent = [b for b in metrics if (b, decoding) not in evaluations[model].samples]
        if absent:
            names = ", ".join(study.labels.get(b, b) for b in absent)
            missing.append(f"{labels[model]}: no {decoding} samples of {names}, so left out there.")
        elif needed.get(model, model) in (model, *found):
            found.append(model)
    return found, missing


def _benchmark(study, group, name, scored, evaluations, columns, decoding, how) -> Level:
    models = list(columns)
    samples = [evaluations[model].samples[name, decoding] for model in models]
    sources = [f"{_folder(study, model)}: {name}, {decoding}" for model in models]
    each = [sample_scores(s, *scored, source) for s, source in zip(samples, sources, strict=True)]
    try:
        scores = cluster(each)
    except UserError as error:
        folders = ", ".join(_folder(study, model) for model in models)
        raise UserError(
            f"{name}, {decoding}: {error} Models are numbered as in {folders}."
        ) from error
    # Seeds of one arm have the same number: they count as one model where a score never varies.
    order = [*(base.name for base in study.bases), *(arm.name for arm in study.arms)]
    numbers = [order.index(m if isinstance(m, str) else m[0]) for m in models]
    seed = (how.seed, zlib.crc32(f"{name}.{decoding}".encode()))
    found = resample_questions(scores, numbers, how.resamples, seed)
    count = len({(sample["subset"], sample["cluster"]) for sample in samples[0]})
    asked = len({sample["id"] for sample in samples[0]})
    return Level(decoding, group, name, found, count, asked, columns, len(samples[0]) / asked)


def _folder(study: Study, model: str | RunKey) -> str:
    if isinstance(model, str):
        return model
    return next(arm.folder(model[1]) for arm in study.arms if arm.name == model[0])


def score_rows(study: Study, found: list[Level], how: Resampling) -> list[dict]:
    """Returns mean scores of every base, and of every arm over its seeds, at every level."""
    rows = []
    for level in found:
        bases = [base.name for base in study.bases if base.name in level.columns]
        rows += [_score_row(level, base, [level.columns[base]], {}, how) for base in bases]
        for arm, seeds in _arms(study, level):
            rows.append(_score_row(level, arm.name, list(seeds.values()), seeds, how))
    return rows


def _arms(study: Study, level: Level) -> Iterator[tuple[Arm, dict[int, int]]]:
    """Yields arms with at least one evaluated seed, and the column of each seed."""
    for arm in study.arms:
        seeds = {s: level.columns[arm.name, s] for s in arm.seeds if (arm.name, s) in level.columns}
        if seeds:
            yield arm, seeds


def _score_row(level: Level, model: str, columns: list[int], seeds: dict, how: Resampling) -> dict:
    def interval(chosen: list[int]) -> dict[str, float | None]:
        seed = _seed(model, how)
        return _points(seeds_interval(level.found, chosen, how.confidence, how.resamples, seed))

    each = [{"seed": seed, **interval([column])} for seed, column in seeds.items()]
    counts = {name: getattr(level, name) for name in ("num_items", "num_questions", "num_samples")}
    return level.where() | {"model": model, **interval(columns), **counts, "seeds": each}


def _points(found: Interval) -> dict[str, float | None]:
    values = {"mean": found.mean, "low": found.low, "high": found.high}
    return {name: 100 * value if np.isfinite(value) else None for name, value in values.items()}


def difference_rows(study: Study, found: list[Level], how: Resampling) -> list[dict]:
    """Returns every arm minus its base at every level, paired over items.

    A row also has each seed's own difference, a p-value, its false discovery rate among the benchmarks or the groups of
    the decoding, the smallest detectable difference, and a verdict.
    """
    rows = []
    for level in found:
        scores = means(level.found.scores)
        for arm, seeds in _arms(study, level):
            columns, base = list(seeds.values()), level.columns[arm.base]
            change = scores[columns] - scores[base]
            compared = _compared(level, columns, [base], arm.name, how, change)
            each = [
                {"seed": seed, **_points(_difference(level, [column], [base], arm.name, how))}
                for seed, column in seeds.items()
            ]
            row = level.where() | {"arm": arm.name, "num_items": level.num_items}
            rows.append(row | compared | {"seeds": each})
    return _with_rates(rows, lambda row: (row["decoding"], row["benchmark"] is None))


def _compared(
    level: Level, plus: list[int], minus: list[int], name: str, how: Resampling, each: np.ndarray
) -> dict[str, Any]:
    """Returns the difference of two models in points, its uncertainty, and a verdict."""
    whole = _difference(level, plus, minus, name, how)
    sure = paired_significance(level.found.scores, plus, minus, how.confidence, _seed(name, how))
    return _points(whole) | {
        "p": _number(sure.p),
        "detectable": _number(100 * sure.detectable),
        "verdict": verdict(whole, each, sure.p, 1 - how.confidence),
    }


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _with_rates(rows: list[dict], family: Callable[[dict], Hashable]) -> list[dict]:
    """Returns the rows with the q-value of each one in its family, and the number of comparisons in the family."""
    members: dict[Hashable, list[dict]] = {}
    for row in rows:
        members.setdefault(family(row), []).append(row)
    for group in members.values():
        rates = false_discovery_rates([np.nan if row["p"] is None else row["p"] for row in group])
        size = sum(row["p"] is not None for row in group)
        for row, rate in zip(group, rates, strict=True):
            row |= {"q": _number(rate), "family": size}
    return rows


def _difference(
    level: Level, plus: list[int], minus: list[int], name: str, how: Resampling
) -> Interval:
    return difference_interval(level.found, plus, minus, how.confidence, _seed(name, how))


def _seed(name: str, how: Resampling) -> tuple[int, int]:
    return (how.seed, zlib.crc32(name.encode()))


def verdict(whole: Interval, each: np.ndarray, p: float, alpha: float) -> str:
    """Returns `up` or `down` if the interval excludes 0, p is at most alpha and all seeds agree, else `unclear`."""
    if whole.low > 0 and p <= alpha and (each > 0).all():
        return "up"
    if whole.high < 0 and p <= alpha and (each < 0).all():
        return "down"
    return "unclear"


def arm_difference_rows(study: Study, found: list[Level], how: Resampling) -> list[dict]:
    """Returns every arm minus every later arm of the same base, by group: paired over items, seeds resampled."""
    rows = []
    for level in (level for level in found if level.benchmark is None):
        arms = [(arm, list(seeds.values())) for arm, seeds in _arms(study, level)]
        scores = means(level.found.scores)
        for (first, plus), (second, minus) in itertools.combinations(arms, 2):
            if first.base == second.base:
                change = np.array([scores[plus].mean() - scores[minus].mean()])
                compared = _compared(level, plus, minus, first.name, how, change)
                rows.append(level.where() | {"arm": first.name, "against": second.name} | compared)
    return _with_rates(rows, lambda row: row["decoding"])
