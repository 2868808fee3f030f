"""The report's tables as plain records, made from the summary; rendering them is the templates'
business.
"""

from dataclasses import dataclass
from typing import Any

from jaxreason.report.drift_rows import QUANTITIES
from jaxreason.report.files import BASE, REST
from jaxreason.report.findings import (
    arm_labels,
    decoding_label,
    group_label,
    plain,
    signed,
    significant,
)

MODES = {"v1_relative": "v1, relative", "v2_literal": "v2, literal", "v2_pooled": "v2, pooled"}


@dataclass(frozen=True)
class Cell:
    """A number as text, its interval, and whether it is a clear change (`up`, `down`) or not."""

    text: str
    interval: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Row:
    """A line: its label, its cells, and whether it starts a section named `section`."""

    label: str
    cells: tuple[Cell, ...]
    section: str = ""


@dataclass(frozen=True)
class Table:
    """A caption, column labels in two levels (`spans`: label and number of columns), rows and
    notes.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    spans: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()


NONE = Cell("–")


def benchmark_label(summary: dict[str, Any], name: str) -> str:
    """What a benchmark is called."""
    return summary["labels"].get(name, name.replace("_", " "))


def _score(row: dict | None) -> Cell:
    if row is None or row["mean"] is None:
        return NONE
    return Cell(plain(row["mean"]), f"{plain(row['low'])} to {plain(row['high'])}")


def _change(row: dict | None) -> Cell:
    if row is None or row["mean"] is None:
        return NONE
    tone = row["verdict"] if row["verdict"] != "unclear" else ""
    return Cell(signed(row["mean"]), f"{signed(row['low'])} to {signed(row['high'])}", tone)


def _find(rows: list[dict], **wanted: Any) -> dict | None:
    return next(
        (row for row in rows if all(row[key] == value for key, value in wanted.items())), None
    )


def _level_groups(summary: dict, decoding: str) -> list[str]:
    rows = (r for r in summary["scores"] if r["decoding"] == decoding and r["benchmark"] is None)
    return list(dict.fromkeys(r["group"] for r in rows))


def group_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: score and difference of every model in every group."""
    return [_group_table(summary, d) for d in summary["decodings"] if _level_groups(summary, d)]


def _group_table(summary: dict, decoding: str) -> Table:
    groups = [g for g in _level_groups(summary, decoding) if g != REST]
    rows = []
    for model, label in arm_labels(summary).items():
        cells = []
        for group in groups:
            where = {"decoding": decoding, "group": group, "benchmark": None}
            cells.append(_score(_find(summary["scores"], model=model, **where)))
            cells.append(
                _change(_find(summary["differences"], arm=model, **where))
                if model != BASE
                else Cell("")
            )
        if any(cell.text not in ("", NONE.text) for cell in cells):
            rows.append(Row(label, tuple(cells)))
    return Table(
        caption=f"{decoding_label(decoding)}. Scores by group, in points, and differences.",
        columns=("score", "vs base") * len(groups),
        spans=tuple((group_label(group), 2) for group in groups),
        rows=tuple(rows),
    )


def benchmark_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: the base's score of every benchmark, and every arm's difference."""
    tables = []
    for decoding in summary["decodings"]:
        arms = _present(summary, decoding)
        rows = []
        for group in summary["groups"]:
            for name in group["benchmarks"]:
                where = {"decoding": decoding, "group": group["name"], "benchmark": name}
                base = _find(summary["scores"], model=BASE, **where)
                if base is not None:
                    changes = (
                        _change(_find(summary["differences"], arm=a["name"], **where)) for a in arms
                    )
                    cells = (Cell(str(base["num_items"])), _score(base), *changes)
                    rows.append(
                        Row(benchmark_label(summary, name), cells, group_label(group["name"]))
                    )
        if rows:
            columns = ("questions", "Base", *(arm["label"] for arm in arms))
            said = "The base's score of every task, and every arm's difference from it."
            caption = f"{decoding_label(decoding)}. {said}"
            tables.append(Table(caption, columns, tuple(rows)))
    return tables


def _present(summary: dict, decoding: str) -> list[dict]:
    names = {row["arm"] for row in summary["differences"] if row["decoding"] == decoding}
    return [arm for arm in summary["arms"] if arm["name"] in names]


def seed_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: each seed's differences by group; none if arms have one seed."""
    tables = []
    for decoding in summary["decodings"]:
        groups, rows = _level_groups(summary, decoding), []
        for arm in _present(summary, decoding):
            found = [
                _find(
                    summary["differences"],
                    arm=arm["name"],
                    decoding=decoding,
                    group=g,
                    benchmark=None,
                )
                for g in groups
            ]
            for number, entry in enumerate(found[0]["seeds"] if len(found[0]["seeds"]) > 1 else []):
                cells = tuple(
                    _change(row["seeds"][number] | {"verdict": "unclear"}) for row in found
                )
                rows.append(Row(f"seed {entry['seed']}", cells, arm["label"]))
        if rows:
            said = "Each seed's difference from the base (intervals: questions only)."
            caption = f"{decoding_label(decoding)}. {said}"
            tables.append(Table(caption, tuple(group_label(g) for g in groups), tuple(rows)))
    return tables


def pair_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: arms against each other."""
    labels, tables = arm_labels(summary), []
    for decoding in summary["decodings"]:
        members = [r for r in summary["arm_differences"] if r["decoding"] == decoding]
        groups = list(dict.fromkeys(r["group"] for r in members))
        pairs = dict.fromkeys((r["arm"], r["against"]) for r in members)
        rows = []
        for first, second in pairs:
            found = [_find(members, arm=first, against=second, group=g) for g in groups]
            cells = tuple(_change(row | {"verdict": _clear(row)}) for row in found)
            rows.append(Row(f"{labels[first]} − {labels[second]}", cells))
        if rows:
            said = "Arms against each other, in points, paired over questions."
            caption = f"{decoding_label(decoding)}. {said}"
            tables.append(Table(caption, tuple(group_label(g) for g in groups), tuple(rows)))
    return tables


def _clear(row: dict) -> str:
    return "up" if row["low"] > 0 else "down" if row["high"] < 0 else "unclear"


def transfer_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: the index of every arm and seed in every mode; reasons for what is
    undefined as notes.
    """
    tables = []
    for decoding in summary["decodings"]:
        members = [r for r in summary["transfer"] if r["decoding"] == decoding]
        if members:
            tables.append(_transfer_table(summary, decoding, members))
    return tables


def _transfer_table(summary: dict, decoding: str, members: list[dict]) -> Table:
    labels = arm_labels(summary)
    modes = list(dict.fromkeys(r["mode"] for r in members))
    groups = list(dict.fromkeys(r["group"] for r in members))
    notes: dict[str, int] = {}
    rows = []
    for arm, seed in dict.fromkeys((r["arm"], r["seed"]) for r in members):
        found = [_find(members, arm=arm, seed=seed, mode=m, group=g) for m in modes for g in groups]
        label = "all seeds" if seed == "all" else f"seed {seed}"
        section = labels.get(arm, arm)
        rows.append(Row(label, tuple(_index(row, notes) for row in found), section))
    marks = tuple(f"({number}) {reason}." for reason, number in notes.items())
    return Table(
        caption=f"{decoding_label(decoding)}. Transferability index (100: as far as math gained).",
        columns=tuple(group_label(g) for _ in modes for g in groups),
        spans=tuple((MODES.get(mode, mode), len(groups)) for mode in modes),
        rows=tuple(rows),
        notes=marks,
    )


def _index(row: dict | None, notes: dict[str, int]) -> Cell:
    if row is None:
        return NONE
    if row["ti"] is None:
        number = notes.setdefault(f"undefined: {row['undefined']}", len(notes) + 1)
        return Cell(f"undefined ({number})")
    low, high = (_end(row[name]) for name in ("low", "high"))
    ends = "" if low == high == "?" else f"{low} to {high}"
    return Cell(plain(row["ti"]), ends)


def _end(value: float | None) -> str:
    return "?" if value is None else plain(value)


def drift_tables(summary: dict[str, Any]) -> list[Table]:
    """Every drift quantity of every arm by group, and the drift of the weights."""
    names = {row["arm"] for row in summary["drift"] + summary["weights"]}
    arms = [arm for arm in summary["arms"] if arm["name"] in names]
    columns = tuple(arm["label"] for arm in arms)
    rows = []
    for quantity in QUANTITIES:
        for group in summary["groups"]:
            where = {"metric": quantity.metric, "name": quantity.name, "source": quantity.source}
            found = [
                _find(summary["drift"], arm=a["name"], group=group["name"], **where) for a in arms
            ]
            if any(found):
                section = f"{quantity.label} ({quantity.unit})"
                rows.append(
                    Row(group_label(group["name"]), tuple(map(_drift_cell, found)), section)
                )
    for name, label in (
        ("relative_l2", "relative distance |Δw| / |w|"),
        ("changed_share", "share changed in bf16"),
    ):
        found = [_find(summary["weights"], name=name, arm=arm["name"]) for arm in arms]
        if any(found):
            cells = tuple(Cell(significant(row["mean"])) if row else NONE for row in found)
            rows.append(Row(label, cells, "Weights"))
    caption = "How far every arm moved from the base; zero is a model compared with itself."
    return [Table(caption, columns, tuple(rows))] if rows else []


def _drift_cell(row: dict | None) -> Cell:
    if row is None:
        return NONE
    return Cell(
        significant(row["mean"]), f"{significant(row['low'])} to {significant(row['high'])}"
    )


def reply_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: length of replies and what went wrong with them."""
    tables = []
    for decoding in summary["decodings"]:
        members = [r for r in summary["replies"] if r["decoding"] == decoding]
        groups = list(dict.fromkeys(r["group"] for r in members))
        rows = []
        for model, label in arm_labels(summary).items():
            found = [_find(members, model=model, group=g) for g in groups]
            if any(found):
                rows.append(Row(label, tuple(cell for row in found for cell in _reply_cells(row))))
        if rows:
            said = (
                "Mean length of replies in tokens, and the share of them (%) that was cut at the "
                "limit, had no answer to extract, or could not be graded."
            )
            caption = f"{decoding_label(decoding)}. {said}"
            spans = tuple((group_label(g), 4) for g in groups)
            columns = ("tokens", "cut", "no answer", "failed") * len(groups)
            tables.append(Table(caption, columns, tuple(rows), spans))
    return tables


def _reply_cells(row: dict | None) -> list[Cell]:
    if row is None:
        return [NONE] * 4
    shares = (plain(100 * row[name]) for name in ("cut", "no_answer", "failed"))
    return [Cell(plain(row["num_tokens"])), *map(Cell, shares)]


def other_score_tables(summary: dict[str, Any]) -> list[Table]:
    """Scorings beside the primary ones, as the evaluations computed them."""
    labels, rows = arm_labels(summary), []
    members = summary["other_scores"]
    models = [model for model in labels if _find(members, model=model)]
    for benchmark, decoding, metric in dict.fromkeys(
        (r["benchmark"], r["decoding"], r["metric"]) for r in members
    ):
        where = {"benchmark": benchmark, "decoding": decoding, "metric": metric}
        found = [_find(members, model=model, **where) for model in models]
        cells = tuple(NONE if row is None else Cell(plain(row["mean"])) for row in found)
        rows.append(
            Row(f"{benchmark_label(summary, benchmark)}: {metric}", cells, decoding_label(decoding))
        )
    caption = "Other scorings of the same replies, in points (mean over seeds)."
    rows = sorted(rows, key=lambda row: row.section)
    return [Table(caption, tuple(labels[m] for m in models), tuple(rows))] if rows else []


def arm_table(summary: dict[str, Any]) -> Table:
    """The arms, how each was made, and how much of each there is."""
    rows = []
    for arm in summary["arms"]:
        steps = [r["num_steps"] for r in summary["training"] if r["arm"] == arm["name"]]
        seeds = ", ".join(map(str, arm["seeds"]))
        cells = (arm["method"], seeds, f"{len(arm['seeds_evaluated'])} of {len(arm['seeds'])}")
        cells += (f"{max(steps):,.0f}" if steps else "–",)
        rows.append(Row(arm["label"], tuple(map(Cell, cells))))
    return Table("The arms of the study.", ("made by", "seeds", "evaluated", "steps"), tuple(rows))
