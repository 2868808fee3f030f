"""The study's drift numbers as its scripts make them and corrected, a table for each number."""

from typing import Any

from jaxreason.report.paper_rows import PAIRS, Pair
from jaxreason.report.tables import NONE, Cell, Row, Table, benchmark_label, find
from jaxreason.report.wording import arm_labels, decimals, group_label, plain, signed

SIDES = ("As the scripts", "Corrected", "Difference")


def paper_tables(summary: dict[str, Any]) -> list[Table]:
    """Every number by group and task: as the study's released scripts make it, corrected, and their difference."""
    return [table for pair in PAIRS for table in _table(summary, pair)]


def _table(summary: dict, pair: Pair) -> list[Table]:
    members = [row for row in summary["paper_drift"] if row["number"] == pair.key]
    named = {row["arm"] for row in members}
    arms = [arm["name"] for arm in summary["arms"] if arm["name"] in named]
    if not arms:
        return []
    rows = [row for group in summary["groups"] for row in _rows(summary, members, group, arms)]
    labels, columns = arm_labels(summary), SIDES * len(arms)
    spans = tuple((labels[arm], len(SIDES)) for arm in arms)
    caption = (
        f"{pair.label} ({pair.unit}), as the study's released scripts make it and corrected. "
        "They read other texts and other tokens: docs/drift.md."
    )
    return [Table(caption, columns, tuple(rows), spans)]


def _rows(summary: dict, members: list[dict], group: dict, arms: list[str]) -> list[Row]:
    digits = decimals([row[side] for row in members for side in ("scripts", "corrected")])
    tasks = [None, *dict.fromkeys(r["benchmark"] for r in members if r["benchmark"] is not None)]
    rows = []
    for task in tasks:
        found = [find(members, arm=arm, group=group["name"], benchmark=task) for arm in arms]
        if any(found):
            cells = tuple(cell for row in found for cell in _cells(row, digits))
            label = "Mean of its tasks" if task is None else benchmark_label(summary, task)
            rows.append(Row(label, cells, group_label(group["name"]) if task is None else ""))
    return rows


def _cells(row: dict | None, digits: int) -> tuple[Cell, ...]:
    if row is None:
        return (NONE,) * len(SIDES)
    sides = (Cell(plain(row[name], digits)) for name in ("scripts", "corrected"))
    return (*sides, Cell(signed(row["difference"], digits)))
