"""The study's drift numbers as its scripts make them, beside ours: rows of summary.json, by arm, group and task."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxreason.report.drift_rows import read_metric_files
from jaxreason.report.files import Reader, Study


class Side(NamedTuple):
    """One way of measuring: the metric's file, the row's name, and whose texts were read."""

    metric: str
    name: str
    source: str


class Pair(NamedTuple):
    """A number of the study: as its scripts make it, and corrected."""

    key: str
    label: str
    unit: str
    scripts: Side
    corrected: Side


PAIRS = (
    Pair(
        "pca_shift",
        "PCA shift",
        "state units",
        Side("paper_pca_shift", "shift", "questions"),
        Side("pca_shift", "shift.reply", "base"),
    ),
    Pair(
        "kl",
        "KL, tuned replies",
        "nats per token",
        Side("token_kl", "paper_kl", "tuned"),
        Side("token_kl", "kl_reverse", "tuned"),
    ),
    Pair(
        "rank_shift",
        "Rank shift, tuned replies",
        "ranks",
        Side("token_kl", "paper_rank_shift", "tuned"),
        Side("token_kl", "rank_shift", "tuned"),
    ),
)


def paper_rows(reader: Reader, study: Study) -> list[dict]:
    """Of every arm, number, group and benchmark (null: of the group) that both ways have: means over the same seeds.

    Raises:
      UserError: a file is broken.
    """
    sides = (side for pair in PAIRS for side in (pair.scripts, pair.corrected))
    found = read_metric_files(reader, study, (side.metric for side in sides))
    return [row for arm in study.arms for row in _rows_of(arm, found, study)]


def _rows_of(arm, found: dict, study: Study) -> Iterator[dict]:
    for pair in PAIRS:
        for group in study.group_names():
            for benchmark in (None, *study.benchmarks(group)):
                values = [
                    _both(pair, arm.name, seed, group, benchmark, found) for seed in arm.seeds
                ]
                known = [both for both in values if both is not None]
                if known:
                    scripts, corrected = (float(x) for x in np.mean(known, axis=0))
                    where = {"arm": arm.name, "number": pair.key, "group": group}
                    where |= {"benchmark": benchmark, "num_seeds": len(known)}
                    both = {"scripts": scripts, "corrected": corrected}
                    yield where | both | {"difference": scripts - corrected}


def _both(pair: Pair, arm: str, seed: int, group: str, benchmark: str | None, found: dict):
    sides = [
        _value(found.get((arm, seed, side.metric)), side, group, benchmark)
        for side in (pair.scripts, pair.corrected)
    ]
    return None if None in sides else sides


def _value(file: dict | None, side: Side, group: str, benchmark: str | None) -> float | None:
    if file is None:
        return None
    rows = file["groups"] if benchmark is None else file["rows"]
    wanted = (group, benchmark, side.source, side.name)
    keys = ("group", "benchmark", "source", "name")
    return next((r["value"] for r in rows if tuple(r.get(k) for k in keys) == wanted), None)
