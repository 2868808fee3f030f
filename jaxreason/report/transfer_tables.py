"""Tables of the transferability index and of the degrees whose ratio it is, from transfer.json."""

from collections.abc import Iterable
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
from jaxreason.report.study_reader import Reader, Study
from jaxreason.report.wording import WAYS, arm_labels, group_label, plain_number, signed
from jaxreason.results.groups import MATH
from jaxreason.results.study_files import read_transfer

ABSENT = "The transferability index has not been computed."
MODES = {
    "v1_relative": "v1, relative",
    "v2_literal": "v2, literal",
    "v2_pooled": "v2, pooled",
    "paper_scales": "v2, paper's scales",
}
# A table of one mode shows the first of these that exists.
ONE_MODE = ("v2_pooled", "paper_scales")


def transfer_rows(
    reader: Reader, study: Study, evaluated: Iterable[str]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the keys `transfer`, `sensitivity` and `transfer_variant` of summary.json, and in words what is missing.

    The study may have other arms now: rows of arms that it no longer has are left out, and arms without rows are named.

    Args:
      reader: of the study's folder.
      study: its study.json.
      evaluated: the arms that have scores.

    Raises:
      UserError: the file is broken.
    """
    found = read_transfer(reader.folder, reader)
    held = found or {"rows": [], "sensitivity": [], "config": {}}
    names = {arm.name for arm in study.arms}
    kept = {key: [r for r in held[key] if r["arm"] in names] for key in ("rows", "sensitivity")}
    rows = {
        "transfer": kept["rows"],
        "sensitivity": kept["sensitivity"],
        "transfer_variant": held["config"].get("variant"),
    }
    if not kept["rows"]:
        return rows, [ABSENT]
    without = names & set(evaluated) - {row["arm"] for row in kept["rows"]}
    labels = [arm.label for arm in study.arms if arm.name in without]
    return rows, [f"{label}: the transferability index has not been computed." for label in labels]


def pooled_rows(rows: list[dict]) -> list[dict]:
    """Returns the rows of each arm over all its seeds, or those of its only seed."""
    pooled = {row["arm"] for row in rows if row["seed"] == "all"}
    return [row for row in rows if row["seed"] == "all" or row["arm"] not in pooled]


def variant_note(summary: dict[str, Any]) -> tuple[str, ...]:
    """Returns a note on the scores from which the index was computed; none if transfer.json does not say."""
    variant = summary["transfer_variant"]
    if variant is None:
        return ()
    text = f"Computed from scores of tasks measured {WAYS[variant]}"
    if variant != summary["variant"]:
        text += (
            ", unlike the other scores of this report (the recipe's `transfer.variant` says which)"
        )
    return (f"{text}.",)


def transfer_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: the index of every arm over its seeds, in every mode."""
    labels = arm_labels(summary)
    return _tables(
        summary,
        pooled_rows(summary["transfer"]),
        "Transferability index, all seeds of an arm together (100: as far as math gained).",
        lambda arm, seed: (labels.get(arm, arm), ""),
    )


def transfer_seed_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: the index of every single seed."""
    labels = arm_labels(summary)
    pooled = {row["arm"] for row in summary["transfer"] if row["seed"] == "all"}
    return _tables(
        summary,
        [r for r in summary["transfer"] if r["seed"] != "all" and r["arm"] in pooled],
        "Transferability index, seed by seed (intervals: questions only).",
        lambda arm, seed: (f"seed {seed}", labels.get(arm, arm)),
    )


def _tables(summary: dict, rows: list[dict], text: str, name) -> list[Table]:
    tables = []
    for decoding in summary["decodings"]:
        members = [row for row in rows if row["decoding"] == decoding]
        if members:
            about = variant_note(summary)
            tables.append(_table(decoding_caption(decoding, text), members, name, about))
    return tables


def _table(said: str, members: list[dict], name, about: tuple[str, ...]) -> Table:
    modes, groups = _distinct(members, "mode"), _distinct(members, "group")
    notes: dict[str, int] = {}
    rows = []
    for arm, seed in dict.fromkeys((r["arm"], r["seed"]) for r in members):
        found = [find(members, arm=arm, seed=seed, mode=m, group=g) for m in modes for g in groups]
        label, section = name(arm, seed)
        rows.append(TableRow(label, tuple(_index(row, notes) for row in found), section))
    return Table(
        caption=said,
        columns=tuple(group_label(g) for _ in modes for g in groups),
        spans=tuple((MODES.get(mode, mode), len(groups)) for mode in modes),
        rows=tuple(rows),
        notes=(*about, *_undefined(notes)),
    )


def _distinct(rows: Iterable[dict], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _index(row: dict | None, notes: dict[str, int]) -> Cell:
    if row is None:
        return NONE
    if row["ti"] is None:
        number = notes.setdefault(row["undefined"], len(notes) + 1)
        return Cell(f"undefined ({number})")
    low, high = (_end(row[name]) for name in ("low", "high"))
    return Cell(plain_number(row["ti"]), "" if low == high == "?" else f"{low} to {high}")


def _end(value: float | None) -> str:
    return "?" if value is None else plain_number(value)


def degree_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: DI of every group, which the index divides by that of math."""
    labels, tables = arm_labels(summary), []
    rows = pooled_rows(summary["transfer"])
    for decoding in summary["decodings"]:
        members = [row for row in rows if row["decoding"] == decoding]
        modes, groups = _distinct(members, "mode"), _distinct(members, "group")
        lines = []
        for arm in _distinct(members, "arm"):
            cells = []
            for mode in modes:
                found = [find(members, arm=arm, mode=mode, group=group) for group in groups]
                cells += [_degree(found[0], "di_math"), *(_degree(row, "di") for row in found)]
            lines.append(TableRow(labels.get(arm, arm), tuple(cells)))
        if lines:
            said = decoding_caption(
                decoding, "Degrees of improvement (DI), all seeds of an arm together."
            )
            names = tuple(group_label(g) for _ in modes for g in (MATH, *groups))
            spans = tuple((MODES.get(mode, mode), len(groups) + 1) for mode in modes)
            tables.append(Table(said, names, tuple(lines), spans, variant_note(summary)))
    return tables


def _degree(row: dict | None, name: str) -> Cell:
    if row is None or row[name] is None:
        return NONE
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    ends = "" if low is None or high is None else f"{signed(low, 2)} to {signed(high, 2)}"
    return Cell(signed(row[name], 2), ends)


def sensitivity_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: the index without each benchmark, in one mode; all modes are in transfer.json."""
    tables = []
    for decoding in summary["decodings"]:
        whole = [r for r in pooled_rows(summary["transfer"]) if r["decoding"] == decoding]
        mode = one_mode(whole)
        whole = [row for row in whole if row["mode"] == mode]
        members = [
            row
            for row in summary["sensitivity"]
            if (row["decoding"], row["mode"]) == (decoding, mode)
        ]
        if members:
            tables.append(_sensitivity_table(summary, decoding, mode, whole, members))
    return tables


def one_mode(rows: list[dict]) -> str | None:
    """Returns the mode for tables and figures of one mode: ONE_MODE's first that was computed, else the first one."""
    there = _distinct(rows, "mode")
    return next((mode for mode in (*ONE_MODE, *there) if mode in there), None)


def _sensitivity_table(
    summary: dict, decoding: str, mode: str, whole: list[dict], members: list[dict]
) -> Table:
    labels, notes, rows = arm_labels(summary), {}, []
    groups = _distinct(members, "group")
    for arm in _distinct(members, "arm"):
        section = labels.get(arm, arm)
        cells = (_point(find(whole, arm=arm, group=g), notes) for g in groups)
        rows.append(TableRow("all tasks", tuple(cells), section))
        own = [row for row in members if row["arm"] == arm]
        for name in _distinct(own, "without"):
            cells = (_point(find(own, without=name, group=g), notes) for g in groups)
            rows.append(
                TableRow(f"without {benchmark_label(summary, name)}", tuple(cells), section)
            )
    text = f"The index ({MODES.get(mode, mode)}) when one task is left out."
    return Table(
        caption=decoding_caption(decoding, text),
        columns=tuple(group_label(g) for g in groups),
        rows=tuple(rows),
        notes=(*variant_note(summary), *_undefined(notes)),
    )


def _point(row: dict | None, notes: dict[str, int]) -> Cell:
    """Returns the index without interval; blank for a task of another group, which changes nothing."""
    return Cell("") if row is None else Cell(_index(row | {"low": None, "high": None}, notes).text)


def _undefined(notes: dict[str, int]) -> tuple[str, ...]:
    return tuple(f"({number}) Undefined: {reason}." for reason, number in notes.items())


def gain_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: the points that each arm gained and lost on the tasks of each group, separately."""
    labels, tables = arm_labels(summary), []
    for decoding in summary["decodings"]:
        members = [r for r in pooled_rows(summary["transfer"]) if r["decoding"] == decoding]
        members = [row for row in members if row["mode"] == one_mode(members)]
        groups, lines = _distinct(members, "group"), []
        for arm in _distinct(members, "arm"):
            found = [find(members, arm=arm, group=group) for group in groups]
            pairs = [(found[0], "_math"), *((row, "") for row in found)]
            cells = (_part(row, f"{n}{suffix}") for row, suffix in pairs for n in ("gain", "drop"))
            lines.append(TableRow(labels.get(arm, arm), tuple(cells)))
        if lines:
            text = "Mean over a group's tasks of the points gained, and of those lost (gain − drop is the mean change)."
            spans = tuple((group_label(group), 2) for group in (MATH, *groups))
            columns = ("gain", "drop") * len(spans)
            said = decoding_caption(decoding, text)
            tables.append(Table(said, columns, tuple(lines), spans, variant_note(summary)))
    return tables


def _part(row: dict | None, name: str) -> Cell:
    return NONE if row is None or row[name] is None else Cell(plain_number(row[name]))
