"""The figures of drift by group and of training."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from jaxreason.report.drift_rows import (
    HEADLINE_KL,
    HEADLINE_SHIFT,
    REVERSE_KL,
    SCALED_SHIFT,
    Quantity,
    rows_of,
)
from jaxreason.report.style import (
    draw_row,
    from_zero,
    grid,
    least_span,
    looks,
    name_rows,
    smooth,
    true_minus,
)
from jaxreason.report.wording import arm_labels, group_label

CURVE_LABELS = {
    "loss": "loss",
    "reward": "mean reward",
    "length": "mean reply length (tokens)",
}
NO_DRIFT = 1e-9  # below it a distance is rounding noise
LEAST_DRIFT, LEAST_CURVE = 1e-3, 1e-6  # the least that an axis shows
MOST_RATIO = 1e6  # of the ends of a logarithmic axis
SMOOTHED = 0.06  # share of the steps that a running mean covers


def divergence(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """KL by group, both ways round."""
    titles = {
        HEADLINE_KL: "KL(base ‖ tuned), base's replies",
        REVERSE_KL: "KL(tuned ‖ base), tuned replies",
    }
    return _by_group(summary, titles, narrow)


def shift(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """PCA shift by group, as the mean of the layers and in spreads of the base's texts."""
    titles = {
        HEADLINE_SHIFT: "PCA shift, mean of layers",
        SCALED_SHIFT: "PCA shift in spreads of the base's texts",
    }
    return _by_group(summary, titles, narrow)


def _by_group(summary: dict, titles: dict[Quantity, str], narrow: bool) -> Figure | None:
    found = {quantity: rows_of(summary["drift"], quantity) for quantity in titles}
    found = {quantity: rows for quantity, rows in found.items() if rows}
    if not found:
        return None
    rows = [row for members in found.values() for row in members]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    arms = [a["name"] for a in summary["arms"] if any(r["arm"] == a["name"] for r in rows)]
    height = 0.8 + 0.2 * len(groups) * (len(arms) + 1)
    figure, axes = grid(len(found), 2, height, narrow)
    for number, (panel, (quantity, members)) in enumerate(zip(axes, found.items(), strict=True)):
        _group_rows(panel, summary, members, groups, arms)
        panel.tick_params(labelleft=narrow or number == 0)
        _log_if_positive(panel, members)
        panel.set_title(titles[quantity])
        panel.set_xlabel(quantity.unit)
    return figure


def _group_rows(
    axes: Axes, summary: dict, rows: list[dict], groups: list[str], arms: list[str]
) -> None:
    """Arms as rows under the name of each group."""
    labels, look = arm_labels(summary), looks(summary)
    step = len(arms) + 1
    for number, group in enumerate(groups):
        where = axes.get_yaxis_transform()
        style = {"va": "center", "fontsize": 8, "fontweight": "bold"}
        axes.text(0.01, number * step, group_label(group), transform=where, **style)
        for row in (row for row in rows if row["group"] == group):
            y = number * step + 1 + arms.index(row["arm"])
            draw_row(axes, y, row, look[row["arm"]])
    places = [(n * step + 1 + i, arm) for n in range(len(groups)) for i, arm in enumerate(arms)]
    names, colours = zip(*((labels[arm], look[arm].colour) for _, arm in places), strict=True)
    name_rows(axes, [y for y, _ in places], list(names), list(colours))
    axes.set_ylim(top=-0.7)


def _log_if_positive(axes: Axes, rows: list[dict]) -> None:
    """A logarithmic axis where every number allows it: drift spans orders of magnitude."""
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    if low <= 0 or high < NO_DRIFT:
        from_zero(axes, LEAST_DRIFT)
        return
    low = max(low, high / MOST_RATIO)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlim(left=max(axes.get_xlim()[0], low / 2))


def training(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Training curves by method: a line a seed in the arm's colour, with running means."""
    method = {arm["name"]: arm["method"] for arm in summary["arms"]}
    found: dict[tuple[str, str], list[dict]] = {}
    for row in summary["training"]:
        found.setdefault((method[row["arm"]], row["curve"]), []).append(row)
    if not found:
        return None
    look = looks(summary)
    figure, axes = grid(len(found), 4, 2.6, narrow)
    for panel, ((name, curve), members) in zip(axes, found.items(), strict=True):
        for row in members:
            steps, values = zip(*row["points"], strict=True)
            colour = look[row["arm"]].colour
            panel.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
            panel.plot(steps, smooth(values, SMOOTHED), color=colour, linewidth=1.4)
        _legend(panel, summary, list(dict.fromkeys(row["arm"] for row in members)))
        panel.set_title(f"{name.upper()}: {CURVE_LABELS[curve]}")
        panel.set_xlabel("step")
        true_minus(panel, "x", "y")
    least_span(axes, "x", 1.0)
    least_span(axes, "y", LEAST_CURVE)
    return figure


def _legend(axes: Axes, summary: dict, arms: list[str]) -> None:
    labels, look = arm_labels(summary), looks(summary)
    handles = [Line2D([], [], color=look[arm].colour, label=labels[arm]) for arm in arms]
    style = {"frameon": False, "fontsize": 7.5, "labelcolor": "linecolor", "handlelength": 1.2}
    axes.legend(handles=handles, loc="best", **style)
