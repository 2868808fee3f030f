"""The figure of cross-sampling: score against the number of choices taken from the other model, both ways."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.style import GREY, Look, bar, grid, least_span, looks
from jaxreason.report.tables import benchmark_label
from jaxreason.report.wording import arm_labels

LEADS = {
    "base": "base replies, tuned choices taken",
    "tuned": "tuned replies, base choices taken",
}
BASE_LOOK = Look(GREY, "o")
APART = 0.05  # of two intervals at one budget


def cross_sampling(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """A panel an arm and task: what the base gains by the tuned model's choices, and what that loses by the base's."""
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
    """The means over seeds joined, with the interval of a single seed, or each seed as a faint line."""
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
