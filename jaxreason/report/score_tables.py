"""Tables of scores and of differences: by group, by task, by seed, and arms against each other."""

import itertools
from typing import Any

from jaxreason.report.report_tables import (
    NONE,
    Cell,
    Table,
    TableRow,
    benchmark_label,
    decoding_caption,
    find,
)
from jaxreason.report.wording import (
    arm_labels,
    arms_on,
    base_names,
    group_label,
    plain_number,
    signed,
)
from jaxreason.results.groups import REST

STAR = "†"
LEAST = 0.0001  # Smaller probabilities are not written out.
RATE = 0.05  # False discovery rate up to which a change is marked.


def score_cell(row: dict | None) -> Cell:
    """Returns a score with its interval."""
    if row is None or row["mean"] is None:
        return NONE
    return Cell(
        plain_number(row["mean"]), f"{plain_number(row['low'])} to {plain_number(row['high'])}"
    )


def change_cell(row: dict | None) -> Cell:
    """Returns a change from the base: its interval, its verdict as the tone, and STAR if `survives` holds."""
    if row is None or row["mean"] is None:
        return NONE
    tone = row["verdict"] if row["verdict"] != "unclear" else ""
    star = STAR if survives(row) else ""
    return Cell(signed(row["mean"]) + star, f"{signed(row['low'])} to {signed(row['high'])}", tone)


def survives(row: dict) -> bool:
    """Returns whether a change is clear, and remains clear when corrected for the whole family of comparisons."""
    return row["verdict"] != "unclear" and row.get("q") is not None and row["q"] <= RATE


def _star_note(rows: list[dict]) -> tuple[str, ...]:
    sizes = [row["family"] for row in rows if survives(row)]
    if not sizes:
        return ()  # Nothing has the mark.
    return (
        f"{STAR} Clear, and in a list of such changes at most {100 * RATE:g}\u2009% are expected to be false "
        f"(Benjamini–Hochberg over the {max(sizes)} comparisons of this kind; q at most {RATE:g}).",
    )


def _level_groups(summary: dict, decoding: str) -> list[str]:
    rows = (r for r in summary["scores"] if r["decoding"] == decoding and r["benchmark"] is None)
    return list(dict.fromkeys(r["group"] for r in rows))


def group_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: score and difference of every model in every group; none if nothing has a score."""
    found = [d for d in summary["decodings"] if _level_groups(summary, d)]
    return [table for table in (_group_table(summary, d) for d in found) if table.rows]


def _group_table(summary: dict, decoding: str) -> Table:
    groups = [g for g in _level_groups(summary, decoding) if g != REST]
    rows = []
    for model, label in arm_labels(summary).items():
        cells = []
        for group in groups:
            where = {"decoding": decoding, "group": group, "benchmark": None}
            cells.append(score_cell(find(summary["scores"], model=model, **where)))
            cells.append(
                change_cell(find(summary["differences"], arm=model, **where))
                if model not in base_names(summary)
                else Cell("")
            )
        if any(cell.text not in ("", NONE.text) for cell in cells):
            rows.append(TableRow(label, tuple(cells)))
    return Table(
        caption=decoding_caption(
            decoding, "Scores by group, in points, and differences from the base."
        ),
        columns=("score", "vs base") * len(groups),
        spans=tuple((group_label(group), 2) for group in groups),
        rows=tuple(rows),
        notes=_star_note(_differences(summary, decoding, groups=True)),
    )


def _differences(summary: dict, decoding: str, groups: bool) -> list[dict]:
    return [
        row
        for row in summary["differences"]
        if row["decoding"] == decoding and (row["benchmark"] is None) == groups
    ]


def benchmark_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding and base: its score on every benchmark, and the difference of every arm there."""
    pairs = itertools.product(summary["decodings"], base_names(summary))
    tables = [_benchmark_table(summary, decoding, base) for decoding, base in pairs]
    return [table for table in tables if table.rows]


def _benchmark_table(summary: dict, decoding: str, base: str) -> Table:
    labels, rows = arm_labels(summary), []
    arms = [arm for arm in arms_on(summary, base) if arm in _present(summary, decoding)]
    for group in summary["groups"]:
        for name in group["benchmarks"]:
            where = {"decoding": decoding, "group": group["name"], "benchmark": name}
            score = find(summary["scores"], model=base, **where)
            if score is not None:
                changes = [
                    change_cell(find(summary["differences"], arm=a["name"], **where)) for a in arms
                ]
                cells = (Cell(str(score["num_items"])), score_cell(score), *changes)
                label = benchmark_label(summary, name)
                rows.append(TableRow(label, cells, group_label(group["name"])))
    said = decoding_caption(
        decoding, "The base's score of every task, and every arm's difference from it."
    )
    columns = ("questions", labels[base], *(labels[arm["name"]] for arm in arms))
    notes = _star_note(_differences(summary, decoding, groups=False))
    return Table(said, columns, tuple(rows), notes=notes)


def _present(summary: dict, decoding: str) -> list[dict]:
    names = {row["arm"] for row in summary["differences"] if row["decoding"] == decoding}
    return [arm for arm in summary["arms"] if arm["name"] in names]


def seed_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: each seed's differences by group; none if every arm has one seed."""
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
                    change_cell(row["seeds"][number] | {"verdict": "unclear"}) for row in found
                )
                rows.append(TableRow(f"seed {entry['seed']}", cells, labels[arm["name"]]))
        if rows:
            said = decoding_caption(
                decoding, "Each seed's difference from the base (intervals: questions only)."
            )
            tables.append(Table(said, tuple(group_label(g) for g in groups), tuple(rows)))
    return tables


def pair_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: arms against each other."""
    labels, tables = arm_labels(summary), []
    for decoding in summary["decodings"]:
        members = [r for r in summary["arm_differences"] if r["decoding"] == decoding]
        groups = list(dict.fromkeys(r["group"] for r in members))
        pairs = dict.fromkeys((r["arm"], r["against"]) for r in members)
        rows = []
        for first, second in pairs:
            found = [find(members, arm=first, against=second, group=g) for g in groups]
            cells = tuple(change_cell(row) for row in found)
            rows.append(TableRow(f"{labels[first]} − {labels[second]}", cells))
        if rows:
            said = decoding_caption(
                decoding, "Arms against each other, in points, paired over questions."
            )
            columns = tuple(group_label(g) for g in groups)
            tables.append(Table(said, columns, tuple(rows), notes=_star_note(members)))
    return tables


def significance_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: p-, q-value and smallest detectable difference of every arm's differences."""
    labels, tables = arm_labels(summary), []
    for decoding in summary["decodings"]:
        rows = []
        for arm in _present(summary, decoding):
            for groups in (True, False):
                rows += [
                    TableRow(_level_label(summary, row), _significance(row), labels[arm["name"]])
                    for row in _differences(summary, decoding, groups)
                    if row["arm"] == arm["name"] and row["mean"] is not None
                ]
        if rows:
            said = decoding_caption(
                decoding,
                "Differences from the base: p-value, false discovery rate (q), and the smallest true "
                "difference that would be found four times in five, in points.",
            )
            tables.append(Table(said, ("difference", "p", "q", "smallest"), tuple(rows)))
    return tables


def _level_label(summary: dict, row: dict) -> str:
    if row["benchmark"] is None:
        return group_label(row["group"])
    return benchmark_label(summary, row["benchmark"])


def _significance(row: dict) -> tuple[Cell, ...]:
    return (
        change_cell(row),
        _chance(row["p"]),
        _chance(row["q"]),
        Cell(plain_number(row["detectable"])),
    )


def _chance(value: float) -> Cell:
    return Cell(f"<{LEAST:g}" if value < LEAST else plain_number(value, 4))
