"""Cross-sampling: the score of replies in which the other model chose some of the tokens (rows, table, figure)."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, benchmark_label, find
from jaxreason.report.study_reader import Reader, Study
from jaxreason.report.style import GREY, Look, bar, grid, least_span, looks
from jaxreason.report.wording import arm_labels, plain_number
from jaxreason.results.drift_files import read_cross_results

ABOUT = ("benchmark", "label", "group", "decoding", "variant", "rule", "threshold", "questions")
COLUMNS = ("Score", "Taken a reply", "Share of tokens")
LEADS = {
    "base": "base replies, tuned choices taken",
    "tuned": "tuned replies, base choices taken",
}
BASE_LOOK = Look(GREY, "o")
APART = 0.05  # Between two intervals at one budget.


def cross_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """Returns rows by arm, benchmark, leading model and budget (null: no limit): mean over seeds in points, and each
    seed.

    Raises:
      UserError: a file is broken.
    """
    found: dict[tuple, list[dict]] = {}
    for arm, seed in study.runs():
        for value in read_cross_results(reader.folder / arm.folder(seed), reader):
            for row in value["rows"]:
                key = arm.name, value["benchmark"], row["leads"], row["budget"]
                about = {name: value.get(name) for name in ABOUT}
                found.setdefault(key, []).append(about | row | {"seed": seed})
    return [_row(*key, members) for key, members in found.items()]


def _row(arm: str, benchmark: str, leads: str, budget: int | None, members: list[dict]) -> dict:
    scored = [member for member in members if member["mean"] is not None]
    about = {name: members[0][name] for name in ABOUT}
    where = {"arm": arm, "leads": leads, "budget": budget}
    means = {name: _mean([m[name] for m in members]) for name in ("taken", "taken_share", "tokens")}
    seeds = [
        {"seed": m["seed"], **{name: 100 * m[name] for name in ("mean", "low", "high")}}
        for m in scored
    ]
    return about | where | means | {"mean": _mean([s["mean"] for s in seeds]), "seeds": seeds}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def cross_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns tables of a model's score with a budget of the other's choices: choices taken, of how many tokens."""
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
        rows.append(TableRow(label, cells))
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
    ends = f"{plain_number(seeds[0]['low'])} to {plain_number(seeds[0]['high'])}" if alone else ""
    share = f"{100 * row['taken_share']:.1f}\u2009%"
    return Cell(plain_number(row["mean"]), ends), Cell(plain_number(row["taken"])), Cell(share)


def cross_sampling_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws one panel per arm and task: the base's gain by the tuned model's choices, and the reverse loss."""
    rows = [row for row in summary["cross_sampling"] if row["mean"] is not None]
    panels = list(dict.fromkeys((row["benchmark"], row["arm"]) for row in rows))
    if not panels:
        return None
    labels, look = arm_labels(summary), looks(summary)
    figure, axes = grid(len(panels), 3, 2.9, narrow)
    for panel, (benchmark, arm) in zip(axes, panels, strict=True):
        members = [row for row in rows if (row["benchmark"], row["arm"]) == (benchmark, arm)]
        budgets = sorted({row["budget"] for row in members}, key=lambda b: (b is None, b))
        for leads, of, aside in (("base", look[arm], -APART), ("tuned", BASE_LOOK, APART)):
            _line(panel, [row for row in members if row["leads"] == leads], budgets, of, aside)
        names = ["all" if budget is None else f"{budget}" for budget in budgets]
        panel.set_xticks(range(len(budgets)), names)
        panel.set_title(f"{labels[arm]}, {benchmark_label(summary, benchmark)}")
        panel.set_xlabel("choices of the other model taken, at most")
        panel.set_ylabel("score (points)")
        _legend(panel, look[arm])
    least_span(axes, "y", 1.0)
    return figure


def _line(
    axes: Axes, rows: list[dict], budgets: list[int | None], look: Look, aside: float
) -> None:
    """Draws the means over seeds as a line, with the interval of a single seed, or each seed as a faint line."""
    places = [(budgets.index(row["budget"]) + aside, row) for row in rows]
    places.sort(key=lambda pair: pair[0])
    x = [place for place, _ in places]
    style = {"color": look.colour, "marker": look.marker, "markersize": 4.5, "linewidth": 1.4}
    axes.plot(x, [row["mean"] for _, row in places], zorder=4, **style)
    seeds = dict.fromkeys(seed["seed"] for _, row in places for seed in row["seeds"])
    if len(seeds) == 1:
        for place, row in places:
            (seed,) = row["seeds"]
            bar(
                axes,
                place,
                row["mean"],
                (seed["low"], seed["high"]),
                look,
                vertical=True,
                thin=True,
            )
        return
    for number in seeds:
        own = [(p, s["mean"]) for p, row in places for s in row["seeds"] if s["seed"] == number]
        axes.plot(*zip(*own, strict=True), color=look.colour, linewidth=0.6, alpha=0.4)


def _legend(axes: Axes, look: Look) -> None:
    handles = [
        Line2D([], [], color=of.colour, marker=of.marker, markersize=4.5, label=LEADS[leads])
        for leads, of in (("base", look), ("tuned", BASE_LOOK))
    ]
    style = {"frameon": False, "fontsize": 7.5, "labelcolor": "linecolor", "handlelength": 1.4}
    axes.legend(handles=handles, loc="best", **style)
