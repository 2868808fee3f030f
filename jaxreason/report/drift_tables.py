"""Tables of drift by group."""

from typing import Any

from jaxreason.report.drift_rows import (
    HEADLINE_KL,
    HEADLINE_SHIFT,
    PAPER_SHIFT,
    QUANTITIES,
    REVERSE_KL,
    Quantity,
    rows_of,
)
from jaxreason.report.tables import NONE, Cell, Row, Table, find
from jaxreason.report.wording import arm_labels, decimals, group_label, plain
from jaxreason.results.groups import TRAINING

SHOWN = (HEADLINE_KL, REVERSE_KL, HEADLINE_SHIFT, PAPER_SHIFT)


def drift_tables(summary: dict[str, Any]) -> list[Table]:
    """The drift that the figures show, of every arm by group, and the drift of the weights."""
    caption = "How far every arm moved from the base. A model compared with itself has 0."
    arms = _drifted(summary)
    found = summary["drift"]
    rows = [row for quantity in SHOWN for row in quantity_rows(summary, found, quantity, arms)]
    return _drift_table(summary, caption, arms, rows + _weight_rows(summary, arms))


def other_drift_tables(summary: dict[str, Any]) -> list[Table]:
    """The other measures of drift."""
    arms = _drifted(summary)
    others = [quantity for quantity in QUANTITIES if quantity not in SHOWN]
    found = summary["drift"]
    rows = [row for quantity in others for row in quantity_rows(summary, found, quantity, arms)]
    return _drift_table(summary, "Other measures of drift from the base.", arms, rows)


def _drifted(summary: dict) -> list[dict]:
    names = {row["arm"] for row in summary["drift"] + summary["weights"]}
    return [arm for arm in summary["arms"] if arm["name"] in names]


def _drift_table(summary: dict, caption: str, arms: list[dict], rows: list[Row]) -> list[Table]:
    labels = arm_labels(summary)
    return [Table(caption, tuple(labels[arm["name"]] for arm in arms), tuple(rows))] if rows else []


def quantity_rows(
    summary: dict[str, Any], drift: list[dict], quantity: Quantity, arms: list[dict]
) -> list[Row]:
    """A quantity of every group, with a cell an arm; groups that no row of `drift` is of are left out."""
    members = rows_of(drift, quantity)
    digits = decimals([row["mean"] for row in members])
    rows = []
    for group in (*(group["name"] for group in summary["groups"]), TRAINING):
        found = [find(members, arm=arm["name"], group=group) for arm in arms]
        if any(found):
            cells = tuple(_drift_cell(row, digits) for row in found)
            rows.append(Row(group_label(group), cells, f"{quantity.label} ({quantity.unit})"))
    return rows


def _drift_cell(row: dict | None, digits: int) -> Cell:
    if row is None:
        return NONE
    ends = f"{plain(row['low'], digits)} to {plain(row['high'], digits)}"
    return Cell(plain(row["mean"], digits), ends)


def _weight_rows(summary: dict, arms: list[dict]) -> list[Row]:
    names = {
        "relative_l2": "relative distance |Δw| / |w|",
        "changed_share": "share changed in bfloat16",
    }
    rows = []
    for name, label in names.items():
        found = [find(summary["weights"], name=name, arm=arm["name"]) for arm in arms]
        if any(found):
            digits = decimals([row["mean"] for row in found if row])
            cells = tuple(Cell(plain(row["mean"], digits)) if row else NONE for row in found)
            rows.append(Row(label, cells, "Weights"))
    return rows
