"""The figure of drift along a reply: KL and rank shift against the position of the token."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from jaxreason.report.style import SIZES, arm_legend, grid, looks, true_minus
from jaxreason.report.wording import group_label

SHOWN = (
    ("kl_forward", "base", "KL(base ‖ tuned)", "nats per token"),
    ("rank_shift", "tuned", "Rank shift", "ranks"),
)
FEWEST = 20  # tokens that a mean is drawn from
LEAST = 1e-3  # the least that an axis shows, which begins at 0 as distances do


def kl_positions(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """KL on the base's replies and rank shift on the tuned model's, group by group, a line an arm."""
    panels = [
        (about, group["name"])
        for about in SHOWN
        for group in summary["groups"]
        if _members(summary, about, group["name"])
    ]
    if not panels:
        return None
    columns = max(sum(about == first for about, _ in panels) for first, _ in panels)
    figure, axes = grid(len(panels), columns, 2.5, narrow)
    look = looks(summary)
    for panel, (about, group) in zip(axes, panels, strict=True):
        for row, points in _members(summary, about, group):
            _line(panel, points, look[row["arm"]])
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        means = [p["mean"] for _, points in _members(summary, about, group) for p in points]
        panel.set_ylim(min(0, *means), max(panel.get_ylim()[1], LEAST))
        panel.yaxis.set_major_locator(MaxNLocator(5))
        panel.set_title(f"{about[2]}, {group_label(group).lower()}")
        panel.set_xlabel("token of the reply")
        panel.set_ylabel(about[3])
        true_minus(panel, "y")
    drawn = {row["arm"] for about, group in panels for row, _ in _members(summary, about, group)}
    arms = [arm["name"] for arm in summary["arms"] if arm["name"] in drawn]
    arm_legend(figure, summary, arms, narrow)
    return figure


def _members(summary: dict, about: tuple, group: str) -> list[tuple[dict, list[dict]]]:
    """Rows with the points that rest on enough tokens, as far as there are two to join."""
    wanted = (about[0], about[1], group)
    found = [
        (row, [point for point in row["points"] if point["num_tokens"] >= FEWEST])
        for row in summary["positions"]
        if (row["name"], row["source"], row["group"]) == wanted
    ]
    return [(row, points) for row, points in found if len(points) > 1]


def _line(axes: Axes, points: list[dict], look) -> None:
    middle = [(point["first"] * point["last"]) ** 0.5 for point in points]
    style = {"markersize": 4 * SIZES.get(look.marker, 1.0), "markeredgecolor": "white"}
    means = [point["mean"] for point in points]
    axes.plot(
        middle,
        means,
        color=look.colour,
        marker=look.marker,
        linewidth=1.2,
        markeredgewidth=0.5,
        **style,
    )
