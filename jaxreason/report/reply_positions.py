"""KL and rank shift against the position of the token in the reply: rows and figure."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from jaxreason.report.study_reader import Arm, Reader, Study
from jaxreason.report.style import SIZES, arm_legend, grid, looks, true_minus
from jaxreason.report.wording import group_label
from jaxreason.results.drift_files import read_drift

METRIC = "token_kl"
CURVES = ("kl_forward", "rank_shift", "shifted_share")
SHOWN = (
    ("kl_forward", "base", "KL(base ‖ tuned)", "nats per token"),
    ("rank_shift", "tuned", "Rank shift", "ranks"),
)
FEWEST = 20  # The fewest tokens for which a mean is drawn.
LEAST = 1e-3  # The smallest range of an axis, which begins at 0 as distances do.


def position_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """Returns by arm, source, group and name: `points`.

    Each point is the mean over the tokens, of all seeds and benchmarks, between the positions `first` and `last` of a
    reply (counted from 1).
    """
    rows = []
    for arm in study.arms:
        units = [unit for seed in arm.seeds for unit in _units(reader, arm, seed)]
        for source in dict.fromkeys(unit["source"] for unit in units):
            for group in study.group_names():
                members = [
                    unit
                    for unit in units
                    if unit["source"] == source and study.groups.get(unit["benchmark"]) == group
                ]
                rows += _rows({"arm": arm.name, "source": source, "group": group}, members)
    return rows


def _units(reader: Reader, arm: Arm, seed: int) -> list[dict]:
    found = read_drift(reader.folder / arm.folder(seed), METRIC, reader)
    units = [] if found is None else found["details"].get("units", ())
    return [unit for unit in units if unit.get("by_position")]


def _rows(where: dict[str, str], units: list[dict]) -> list[dict]:
    spans: dict[tuple[int, int], list[dict]] = {}
    for unit in units:
        for part in unit["by_position"]:
            spans.setdefault((part["first"], part["last"]), []).append(part)
    rows = []
    for name in CURVES:
        there = {s: [part for part in parts if name in part] for s, parts in sorted(spans.items())}
        points = [_point(span, parts, name) for span, parts in there.items() if parts]
        rows += [where | {"name": name, "points": points}] if points else []
    return rows


def _point(span: tuple[int, int], parts: list[dict], name: str) -> dict[str, float]:
    counts = [part["num_tokens"] for part in parts]
    mean = float(np.average([part[name] for part in parts], weights=counts))
    return {"first": span[0], "last": span[1], "num_tokens": sum(counts), "mean": mean}


def kl_positions_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws KL on the base's replies and rank shift on the tuned model's, by group, one line per arm."""
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
    """Returns rows with the points that have enough tokens, if there are at least two points to join."""
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
