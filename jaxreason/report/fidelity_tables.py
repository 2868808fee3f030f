"""Tables of the paper's numbers beside ours: how many agree, and each by itself with why it may not."""

from typing import Any

import numpy as np

from jaxreason.report.fidelity_rows import INDEX, KINDS, MEAN, SCORE
from jaxreason.report.tables import NONE, Cell, Row, Table, benchmark_label
from jaxreason.report.wording import (
    arm_labels,
    decimals,
    decoding_label,
    group_label,
    plain,
    signed,
)
from jaxreason.results import published
from jaxreason.results.published import KL, PCA_SHIFT, RANK_SHIFT

LABELS = {
    SCORE: "Scores (points)",
    MEAN: "Group means (points)",
    INDEX: "Transferability index",
    PCA_SHIFT: "PCA shift (state units)",
    KL: "KL, the paper's way (nats per token)",
    RANK_SHIFT: "Rank shift (ranks)",
}


def fidelity_tables(summary: dict[str, Any]) -> list[Table]:
    """For each kind of published number: how many were measured here, how many agree, and how far off the rest is."""
    rows = []
    for kind in KINDS:
        members = [row for row in summary["fidelity"] if row["kind"] == kind]
        known = [row for row in members if row["difference"] is not None]
        if known:
            judged = [row for row in known if row["agrees"] is not None]
            agree = sum(row["agrees"] for row in judged)
            sizes = [abs(row["difference"]) for row in known]
            digits = decimals([np.median(sizes)])
            furthest = known[int(np.argmax(sizes))]
            said = f"{_model(summary, furthest)}, {_where(summary, furthest)}"
            cells = (
                Cell(f"{len(known)}"),
                Cell(f"{agree} of {len(judged)}"),
                Cell(plain(float(np.median(sizes)), digits)),
                Cell(signed(furthest["difference"], digits), said),
            )
            rows.append(Row(LABELS[kind], cells))
    columns = ("measured here", "published value in our interval", "median distance", "furthest")
    text = "The paper's numbers (arXiv 2507.00432 v2) beside ours."
    return [Table(text, columns, tuple(rows))] if rows else []


def fidelity_detail_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a kind and decoding: published, ours with its interval, the difference, and why they may differ."""
    found: dict[tuple[str, str | None], list[dict]] = {}
    for row in summary["fidelity"]:
        found.setdefault((row["kind"], row["decoding"]), []).append(row)
    return [
        _table(summary, kind, decoding, found[kind, decoding])
        for kind in KINDS
        for decoding in dict.fromkeys(key[1] for key in found if key[0] == kind)
    ]


def _table(summary: dict, kind: str, decoding: str | None, members: list[dict]) -> Table:
    numbers: dict[str, int] = {}
    digits = 1 if kind in (SCORE, MEAN, INDEX) else decimals([r["published"] for r in members])
    rows = [
        Row(_where(summary, row), _cells(row, digits, numbers), _model(summary, row))
        for row in members
    ]
    said = LABELS[kind] if decoding is None else f"{LABELS[kind]}. {decoding_label(decoding)}."
    notes = [f"({number}) {text[0].upper()}{text[1:]}." for text, number in numbers.items()]
    columns = ("published", "ours", "difference", "may differ since")
    return Table(
        f"{said} In the paper: {_sources(members)}.", columns, tuple(rows), notes=tuple(notes)
    )


def _sources(members: list[dict]) -> str:
    return ", ".join(dict.fromkeys(row["source"] for row in members))


def _cells(row: dict, digits: int, numbers: dict[str, int]) -> tuple[Cell, ...]:
    ours = NONE
    if row["mean"] is not None:
        ends = ("?" if row[name] is None else plain(row[name], digits) for name in ("low", "high"))
        ours = Cell(plain(row["mean"], digits), "" if row["low"] is None else " to ".join(ends))
    difference = NONE if row["difference"] is None else Cell(signed(row["difference"], digits))
    marks = [f"({numbers.setdefault(text, len(numbers) + 1)})" for text in row["why"]]
    why = "in our interval" if row["agrees"] else " ".join(marks)
    return Cell(plain(row["published"], digits)), ours, difference, Cell(why)


def _model(summary: dict, row: dict) -> str:
    return arm_labels(summary)[row["model"]]


def _where(summary: dict, row: dict) -> str:
    where = row["where"]
    if where in summary["labels"] or where not in published.benchmarks():
        is_group = any(group["name"] == where for group in summary["groups"])
        return group_label(where) if is_group else benchmark_label(summary, where)
    return published.benchmarks()[where].label
