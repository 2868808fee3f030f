"""Tables of scores and of differences: by group, by task, by seed, and arms against each other."""

from typing import Any

from jaxreason.report.files import BASE, REST
from jaxreason.report.tables import NONE, Cell, Row, Table, benchmark_label, caption, find
from jaxreason.report.wording import arm_labels, group_label, plain, signed


def _score(row: dict | None) -> Cell:
    if row is None or row["mean"] is None:
        return NONE
    return Cell(plain(row["mean"]), f"{plain(row['low'])} to {plain(row['high'])}")


def _change(row: dict | None) -> Cell:
    if row is None or row["mean"] is None:
        return NONE
    tone = row["verdict"] if row["verdict"] != "unclear" else ""
    return Cell(signed(row["mean"]), f"{signed(row['low'])} to {signed(row['high'])}", tone)


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
            cells.append(_score(find(summary["scores"], model=model, **where)))
            cells.append(
                _change(find(summary["differences"], arm=model, **where))
                if model != BASE
                else Cell("")
            )
        if any(cell.text not in ("", NONE.text) for cell in cells):
            rows.append(Row(label, tuple(cells)))
    return Table(
        caption=caption(decoding, "Scores by group, in points, and differences from the base."),
        columns=("score", "vs base") * len(groups),
        spans=tuple((group_label(group), 2) for group in groups),
        rows=tuple(rows),
    )


def benchmark_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: the base's score of every benchmark, and every arm's difference."""
    labels, tables = arm_labels(summary), []
    for decoding in summary["decodings"]:
        arms = _present(summary, decoding)
        rows = []
        for group in summary["groups"]:
            for name in group["benchmarks"]:
                where = {"decoding": decoding, "group": group["name"], "benchmark": name}
                base = find(summary["scores"], model=BASE, **where)
                if base is not None:
                    changes = (
                        _change(find(summary["differences"], arm=a["name"], **where)) for a in arms
                    )
                    cells = (Cell(str(base["num_items"])), _score(base), *changes)
                    rows.append(
                        Row(benchmark_label(summary, name), cells, group_label(group["name"]))
                    )
        if rows:
            columns = ("questions", "Base", *(labels[arm["name"]] for arm in arms))
            said = caption(
                decoding, "The base's score of every task, and every arm's difference from it."
            )
            tables.append(Table(said, columns, tuple(rows)))
    return tables


def _present(summary: dict, decoding: str) -> list[dict]:
    names = {row["arm"] for row in summary["differences"] if row["decoding"] == decoding}
    return [arm for arm in summary["arms"] if arm["name"] in names]


def seed_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: each seed's differences by group; none if arms have one seed."""
    labels, tables = arm_labels(summary), []
    for decoding in summary["decodings"]:
        groups, rows = _level_groups(summary, decoding), []
        for arm in _present(summary, decoding):
            found = [
                find(
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
                rows.append(Row(f"seed {entry['seed']}", cells, labels[arm["name"]]))
        if rows:
            said = caption(
                decoding, "Each seed's difference from the base (intervals: questions only)."
            )
            tables.append(Table(said, tuple(group_label(g) for g in groups), tuple(rows)))
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
            found = [find(members, arm=first, against=second, group=g) for g in groups]
            cells = tuple(_change(row | {"verdict": _clear(row)}) for row in found)
            rows.append(Row(f"{labels[first]} − {labels[second]}", cells))
        if rows:
            said = caption(decoding, "Arms against each other, in points, paired over questions.")
            tables.append(Table(said, tuple(group_label(g) for g in groups), tuple(rows)))
    return tables


def _clear(row: dict) -> str:
    return "up" if row["low"] > 0 else "down" if row["high"] < 0 else "unclear"
