"""Drift as the paper's scripts compute it, beside the corrected number: rows and tables, by arm, group and task."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxreason.report.group_drift import read_metric_files
from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, benchmark_label, find
from jaxreason.report.study_reader import Reader, Study
from jaxreason.report.wording import arm_labels, decimals, group_label, plain_number, signed

COLUMNS = ("As the scripts", "Corrected", "Difference")


class NumberSource(NamedTuple):
    """One way of measuring: the metric's file, the row's name, and the model whose texts were read."""

    metric: str
    name: str
    source: str


class PaperNumber(NamedTuple):
    """A number of the study: as its scripts compute it, and corrected."""

    key: str
    label: str
    unit: str
    scripts: NumberSource
    corrected: NumberSource


PAIRS = (
    PaperNumber(
        "pca_shift",
        "PCA shift",
        "state units",
        NumberSource("paper_pca_shift", "shift", "questions"),
        NumberSource("pca_shift", "shift.reply", "base"),
    ),
    PaperNumber(
        "kl",
        "KL, tuned replies",
        "nats per token",
        NumberSource("token_kl", "paper_kl", "tuned"),
        NumberSource("token_kl", "kl_reverse", "tuned"),
    ),
    PaperNumber(
        "rank_shift",
        "Rank shift, tuned replies",
        "ranks",
        NumberSource("token_kl", "paper_rank_shift", "tuned"),
        NumberSource("token_kl", "rank_shift", "tuned"),
    ),
)


def paper_drift_rows(reader: Reader, study: Study) -> list[dict]:
    """Returns rows by arm, number, group and benchmark (null: the group) that both ways have: means over the same
    seeds.

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


def _both(pair: PaperNumber, arm: str, seed: int, group: str, benchmark: str | None, found: dict):
    sides = [
        _value(found.get((arm, seed, side.metric)), side, group, benchmark)
        for side in (pair.scripts, pair.corrected)
    ]
    return None if None in sides else sides


def _value(
    file: dict | None, side: NumberSource, group: str, benchmark: str | None
) -> float | None:
    if file is None:
        return None
    rows = file["groups"] if benchmark is None else file["rows"]
    wanted = (group, benchmark, side.source, side.name)
    keys = ("group", "benchmark", "source", "name")
    return next((r["value"] for r in rows if tuple(r.get(k) for k in keys) == wanted), None)


def paper_drift_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns every number by group and task: as the study's scripts compute it, corrected, and the difference."""
    return [table for pair in PAIRS for table in _table(summary, pair)]


def _table(summary: dict, pair: PaperNumber) -> list[Table]:
    members = [row for row in summary["paper_drift"] if row["number"] == pair.key]
    named = {row["arm"] for row in members}
    arms = [arm["name"] for arm in summary["arms"] if arm["name"] in named]
    if not arms:
        return []
    rows = [row for group in summary["groups"] for row in _rows(summary, members, group, arms)]
    labels, columns = arm_labels(summary), COLUMNS * len(arms)
    spans = tuple((labels[arm], len(COLUMNS)) for arm in arms)
    caption = (
        f"{pair.label} ({pair.unit}), as the study's released scripts make it and corrected. "
        "They read other texts and other tokens: docs/drift.md."
    )
    return [Table(caption, columns, tuple(rows), spans)]


def _rows(summary: dict, members: list[dict], group: dict, arms: list[str]) -> list[TableRow]:
    digits = decimals([row[side] for row in members for side in ("scripts", "corrected")])
    tasks = [None, *dict.fromkeys(r["benchmark"] for r in members if r["benchmark"] is not None)]
    rows = []
    for task in tasks:
        found = [find(members, arm=arm, group=group["name"], benchmark=task) for arm in arms]
        if any(found):
            cells = tuple(cell for row in found for cell in _cells(row, digits))
            label = "Mean of its tasks" if task is None else benchmark_label(summary, task)
            rows.append(TableRow(label, cells, group_label(group["name"]) if task is None else ""))
    return rows


def _cells(row: dict | None, digits: int) -> tuple[Cell, ...]:
    if row is None:
        return (NONE,) * len(COLUMNS)
    sides = (Cell(plain_number(row[name], digits)) for name in ("scripts", "corrected"))
    return (*sides, Cell(signed(row["difference"], digits)))
