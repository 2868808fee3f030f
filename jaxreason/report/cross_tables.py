"""Tables of cross-sampling: a line a budget, both ways, of every arm and task."""

from typing import Any

from jaxreason.report.cross_figures import LEADS
from jaxreason.report.tables import NONE, Cell, Row, Table, benchmark_label, find
from jaxreason.report.wording import arm_labels, plain

COLUMNS = ("Score", "Taken a reply", "Share of tokens")


def cross_tables(summary: dict[str, Any]) -> list[Table]:
    """What a model scores with at most so many choices of the other, how many were taken, and of how many tokens."""
    panels = dict.fromkeys((row["benchmark"], row["arm"]) for row in summary["cross_sampling"])
    return [_table(summary, *panel) for panel in panels]


def _table(summary: dict, benchmark: str, arm: str) -> Table:
    members = [
        row
        for row in summary["cross_sampling"]
        if (row["benchmark"], row["arm"]) == (benchmark, arm)
    ]
    budgets = sorted({row["budget"] for row in members}, key=lambda b: (b is None, b))
    rows = []
    for budget in budgets:
        found = [find(members, leads=leads, budget=budget) for leads in LEADS]
        cells = tuple(cell for row in found for cell in _cells(row))
        label = {None: "all", 0: "none"}.get(budget, f"at most {budget}")
        rows.append(Row(label, cells))
    task, name = benchmark_label(summary, benchmark), arm_labels(summary)[arm]
    spans = tuple((text[0].upper() + text[1:], len(COLUMNS)) for text in LEADS.values())
    caption = f"{task}, {name}: replies with choices of the other model, {_where(members[0])}."
    return Table(caption, COLUMNS * len(LEADS), tuple(rows), spans)


def _where(row: dict) -> str:
    if row["rule"] == "largest":
        return "taken where the two differ most"
    return f"taken where their Jensen–Shannon divergence first is {row['threshold']:g} nats or more"


def _cells(row: dict | None) -> tuple[Cell, ...]:
    if row is None or row["mean"] is None:
        return (NONE,) * len(COLUMNS)
    seeds = row["seeds"]
    alone = len(seeds) == 1
    ends = f"{plain(seeds[0]['low'])} to {plain(seeds[0]['high'])}" if alone else ""
    share = f"{100 * row['taken_share']:.1f}\u2009%"
    return Cell(plain(row["mean"]), ends), Cell(plain(row["taken"])), Cell(share)
