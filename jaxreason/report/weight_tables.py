"""Tables of weights: every arm as a whole, by kind of parameter, and what runs changed alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxreason.report.tables import NONE, Cell, Row, Table
from jaxreason.report.wording import arm_labels, plain, significant

WHOLE = "all"


class Shown(NamedTuple):
    """A quantity of weights: its label, and its value of a row of means (None where it has none)."""

    label: str
    value: Callable[[dict[str, float]], float | None]


def _percent(name: str) -> Callable[[dict], float | None]:
    return lambda row: 100 * row[name] if name in row else None


def _plain(name: str) -> Callable[[dict], float | None]:
    return lambda row: row.get(name)


SHOWN = (
    Shown("unchanged in bfloat16 (%)", _percent("unchanged_share")),
    Shown("|Δw| / |w| (%)", _percent("relative_l2")),
    Shown("|Δw|", _plain("update_l2")),
    Shown("effective rank of Δw (% of full)", _percent("rank_share")),
    Shown("energy of Δw in the first 1 % of directions (%)", _percent("top_1")),
    Shown("energy of Δw in the first 10 % of directions (%)", _percent("top_10")),
    Shown("Δw on the base's leading output directions (× chance)", _plain("over_chance_left")),
    Shown("Δw on the base's leading input directions (× chance)", _plain("over_chance_right")),
    Shown("change of singular values (%)", _percent("spectral_drift")),
    Shown("rotation of leading output directions (°)", _plain("rotation_left")),
)
BY_KIND = (SHOWN[0], SHOWN[1], SHOWN[3], SHOWN[6], SHOWN[7])
NORMS = ("norm", "bias")  # of a few numbers each: not a row of the table by kind


def weight_tables(summary: dict[str, Any]) -> list[Table]:
    """Every arm over all weights; ranks and directions are means over the matrices of the layers."""
    found = summary["weight_space"]
    labels = arm_labels(summary)
    rows = [_line(shown, shown.label, [row["whole"] for row in found], "") for shown in SHOWN]
    caption = "How the weights moved from the base's, means over seeds. Δw is the update."
    return _table(caption, [labels[row["arm"]] for row in found], rows)


def weight_kind_tables(summary: dict[str, Any]) -> list[Table]:
    """The same by kind of parameter."""
    found, labels = summary["weight_space"], arm_labels(summary)
    kinds = list(dict.fromkeys(kind for row in found for kind in row["by_kind"]))
    kinds = [kind for kind in kinds if not kind.endswith(NORMS)]
    rows = []
    for shown in BY_KIND:
        lines = (
            _line(shown, kind, [row["by_kind"].get(kind, {}) for row in found], shown.label)
            for kind in kinds
        )
        rows += [line for line in lines if line and any(cell != NONE for cell in line.cells)]
    return _table("Weights by kind of parameter.", [labels[row["arm"]] for row in found], rows)


def _line(shown: Shown, label: str, rows: list[dict], section: str) -> Row | None:
    values = [shown.value(row) if row else None for row in rows]
    cells = tuple(NONE if value is None else Cell(significant(value)) for value in values)
    return Row(label, cells, section)


def _table(caption: str, columns: list[str], rows: list[Row]) -> list[Table]:
    rows = [row for row in rows if any(cell != NONE for cell in row.cells)]
    return [Table(caption, tuple(columns), tuple(rows))] if columns and rows else []


def overlap_tables(summary: dict[str, Any]) -> list[Table]:
    """A row a pair of runs of one base: how much of what they changed is the same, and how alike the updates are."""
    made = []
    for base in summary["weight_overlap"]:
        names = member_labels(summary, base["members"])
        rows = [
            Row(f"{names[pair['first']]}, {names[pair['second']]}", _overlap_cells(pair))
            for pair in base["pairs"]
        ]
        caption = (
            "Weights that two runs changed: those that both changed of those that either did, and the cosine of "
            "their updates. By chance: as many in each tensor, anywhere in it."
        )
        columns = (
            "Jaccard index",
            "by chance",
            "cosine",
            "share of the first's",
            "of the second's",
        )
        made.append(Table(caption, columns, tuple(rows)))
    return made


def _overlap_cells(pair: dict[str, Any]) -> tuple[Cell, ...]:
    names = ("jaccard", "jaccard_chance_by_tensor", "cosine", "first_in_second", "second_in_first")
    return tuple(NONE if pair[name] is None else Cell(plain(pair[name], 3)) for name in names)


def member_labels(summary: dict[str, Any], members: list[dict[str, Any]]) -> list[str]:
    """An arm's label, with the seed where the arm has several among them."""
    labels, arms = arm_labels(summary), [member["arm"] for member in members]
    return [
        labels[m["arm"]] + (f", seed {m['seed']}" if arms.count(m["arm"]) > 1 else "")
        for m in members
    ]
