"""Tables of followed runs: arms at equal math, and which measure of drift says how much is lost."""

from typing import Any

from jaxreason.report.tables import NONE, Cell, Row, Table
from jaxreason.report.wording import (
    arm_labels,
    decimals,
    decoding_label,
    group_label,
    listed,
    plain,
    signed,
)
from jaxreason.results.groups import REST

DRIFTS = {
    "kl_training": "KL, training prompts",
    "kl_forward": "KL(base ‖ tuned)",
    "kl_reverse": "KL(tuned ‖ base)",
}


def matched_tables(summary: dict[str, Any]) -> list[Table]:
    """The arms where each first reaches the same score in math: a table a score."""
    return [_matched(summary, row) for row in summary["over_training"]["matched"]]


def _matched(summary: dict, row: dict) -> Table:
    labels, rows = arm_labels(summary), []
    groups = [name for name in row["arms"][0]["groups"] if name != REST]
    drifts = [name for name in DRIFTS if all(name in arm["drift"] for arm in row["arms"])]
    digits = {n: decimals([arm["drift"][n]["mean"] for arm in row["arms"]]) for n in drifts}
    for arm in row["arms"]:
        cells = [
            Cell(plain(arm["step"], 0)),
            *(_cell(arm["groups"][g], 1) for g in (*groups, REST)),
        ]
        cells += [_cell(arm["drift"][n], digits[n]) for n in drifts]
        rows.append(Row(labels[arm["arm"]], tuple(cells)))
    columns = ("step", *map(group_label, (*groups, REST)), *(DRIFTS[n] for n in drifts))
    text = f"{decoding_label(row['decoding'])}. Where each arm first reaches {plain(row['math'])} points in math."
    return Table(text, columns, tuple(rows), notes=tuple(_notes(row, labels)))


def _cell(value: dict, digits: int) -> Cell:
    ends = f"{plain(value['low'], digits)} to {plain(value['high'], digits)}"
    return Cell(plain(value["mean"], digits), ends)


def _notes(row: dict, labels: dict[str, str]) -> list[str]:
    notes = [
        f"{labels[pair['arm']]} minus {labels[pair['against']]}, the rest: {signed(pair['mean'])} "
        f"({plain(pair['low'])} to {plain(pair['high'])})."
        for pair in row["pairs"]
    ]
    below = [f"{labels[other['arm']]} ({plain(other['math'])})" for other in row["not_reached"]]
    if below:
        said = "Left out, since not all seeds reach that score (in brackets what all reach): "
        notes.append(f"{said}{listed(below)}.")
    return notes


def forgetting_tables(summary: dict[str, Any]) -> list[Table]:
    """Every measure of drift, those first that say best what unseen runs lose."""
    found = summary["over_training"]["forgetting"]
    if not found:
        return []
    columns = ("points", *("R²", "adjusted", "unseen runs") * 2, "first in")
    spans = (("", 1), ("Linear", 3), ("Quadratic", 3), ("resamples", 1))
    rows = tuple(_measure(row) for row in found["fits"])
    text = (
        f"{decoding_label(found['decoding'])}. Points lost outside math, fitted on each measure of drift over "
        f"{len(found['points'])} points of {found['num_runs']} runs."
    )
    return [Table(text, columns, rows, spans, tuple(_said(found)))]


def _measure(row: dict) -> Row:
    cells = [Cell(str(row["num_points"]))]
    for name in ("linear", "quadratic"):
        fit = row[name]
        cells += (
            [NONE] * 3
            if fit["undefined"]
            else [_r2(fit), _number(fit["adjusted"]), _number(fit["unseen"])]
        )
    first = NONE if row["first"] is None else Cell(f"{100 * row['first']:.0f}\u2009%")
    return Row(row["label"], (*cells, first))


def _r2(fit: dict) -> Cell:
    if fit["low"] is None or fit["high"] is None:
        return Cell(plain(fit["r2"], 2))
    return Cell(plain(fit["r2"], 2), f"{plain(fit['low'], 2)} to {plain(fit['high'], 2)}")


def _number(value: float | None) -> Cell:
    return NONE if value is None else Cell(plain(value, 2))


def _said(found: dict) -> list[str]:
    """How little a few points say, and which fits there are not."""
    runs = found["num_runs"]
    notes = [
        "The checkpoints of a run resemble each other: runs are resampled, and left out whole. With "
        f"{runs} run{'s' if runs != 1 else ''} the order of measures whose intervals overlap is not settled."
    ]
    for row in found["fits"]:
        whys = {n: row[n]["undefined"] for n in ("linear", "quadratic") if row[n]["undefined"]}
        notes += [f"{row['label']}: no {name} fit ({why})." for name, why in whys.items()]
    return notes
