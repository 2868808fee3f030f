"""Arms grouped by a common trait (method, size, family), as in table 5 of the paper: rows and table."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, decoding_caption, find
from jaxreason.report.transfer_tables import MODES, one_mode, pooled_rows, variant_note
from jaxreason.report.wording import group_label, plain_number, signed
from jaxreason.results.groups import MATH, REST, groups_in_order

LEAST_ARMS = 4  # With fewer arms, the single arms say more.


def trait_rows(summary: dict[str, Any]) -> list[dict]:
    """Returns the mean change in points and the mean index of the arms that share a trait, by group.

    Only traits that divide the arms are used, if there are at least LEAST_ARMS. `index` only includes arms whose index
    is defined; `num_index` counts them.
    """
    if len(summary["arms"]) < LEAST_ARMS:
        return []
    traits = dict.fromkeys(name for arm in summary["arms"] for name in arm["traits"])
    return [
        row
        for decoding in summary["decodings"]
        for trait in traits
        for row in _of_trait(summary, decoding, trait)
    ]


def _of_trait(summary: dict, decoding: str, trait: str) -> Iterator[dict]:
    members: dict[str, list[str]] = {}
    for arm in summary["arms"]:
        if trait in arm["traits"]:
            members.setdefault(arm["traits"][trait], []).append(arm["name"])
    if len(members) < 2:
        return
    indices = [r for r in pooled_rows(summary["transfer"]) if r["decoding"] == decoding]
    indices = [row for row in indices if row["mode"] == one_mode(indices)]
    for value in sorted(members, key=_size_first):
        changes = {g: _changes(summary, decoding, g, members[value]) for g in _groups(summary)}
        found = {
            g: [r["ti"] for r in indices if (r["group"], r["arm"] in members[value]) == (g, True)]
            for g in _groups(summary)
            if g != MATH
        }
        defined = {g: [x for x in values if x is not None] for g, values in found.items()}
        yield {
            "decoding": decoding,
            "trait": trait,
            "value": value,
            "arms": members[value],
            "change": {g: _mean(values) for g, values in changes.items()},
            "index": {g: _mean(values) for g, values in defined.items()},
            "num_index": {g: len(values) for g, values in defined.items()},
            "mode": one_mode(indices),
        }


def _size_first(value: str) -> tuple[float, str]:
    return size_of(value) or 0.0, value


def size_of(value: str) -> float | None:
    """Returns the billions of parameters in a trait such as `1.5B`; None for another trait."""
    try:
        return float(value[:-1]) if value.endswith("B") else None
    except ValueError:
        return None


def _groups(summary: dict) -> list[str]:
    return groups_in_order(group["name"] for group in summary["groups"])


def _changes(summary: dict, decoding: str, group: str, arms: list[str]) -> list[float]:
    where = {"decoding": decoding, "group": group, "benchmark": None}
    found = (find(summary["differences"], **where, arm=arm) for arm in arms)
    return [row["mean"] for row in found if row and row["mean"] is not None]


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def trait_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: mean change and mean index of the arms of each method, size and family."""
    tables, groups = [], _groups(summary)
    for decoding in summary["decodings"]:
        members = [row for row in summary["traits"] if row["decoding"] == decoding]
        if members:
            others = [group for group in groups if group not in (MATH, REST)]
            rows = [
                TableRow(r["value"], _cells(r, groups, others), r["trait"].capitalize())
                for r in members
            ]
            mode = MODES.get(members[0]["mode"], members[0]["mode"])
            spans = [("arms", 1), ("mean change (points)", len(groups))]
            spans += [(f"mean index ({mode})", len(others))] if members[0]["mode"] else []
            columns = ("number", *map(group_label, groups))
            columns += tuple(map(group_label, others)) if members[0]["mode"] else ()
            said = decoding_caption(
                decoding, "Arms by what they have in common; every arm counts once."
            )
            tables.append(Table(said, columns, tuple(rows), tuple(spans), variant_note(summary)))
    return tables


def _cells(row: dict, groups: list[str], others: list[str]) -> tuple[Cell, ...]:
    changes = (row["change"][group] for group in groups)
    cells = [Cell(str(len(row["arms"])))]
    cells += [NONE if value is None else Cell(signed(value)) for value in changes]
    for group in others if row["mode"] else ():
        value, number = row["index"][group], row["num_index"][group]
        less = f"of {number}" if number < len(row["arms"]) else ""
        cells.append(NONE if value is None else Cell(plain_number(value), less))
    return tuple(cells)
