"""The figures of scores: by group, gain against loss, and task by task."""

import itertools
from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreason.report.group_drift import HEADLINE_KL, LEAST_DRIFT, rows_of
from jaxreason.report.report_tables import benchmark_label
from jaxreason.report.style import (
    FAINT,
    GREY,
    INK,
    Label,
    arm_legend,
    bar,
    draw_row,
    from_zero,
    grid,
    least_span,
    looks,
    name_rows,
    place_labels,
    point,
    true_minus,
    zero_line,
)
from jaxreason.report.wording import arm_labels, base_names, crowded, decoding_label, group_label
from jaxreason.results.groups import MATH, REST

POINT = 1.0  # The smallest range of an axis of scores.


def panel_title(group: str, decoding: str) -> str:
    """Returns the title of a group's panel."""
    return f"{group_label(group)}, {decoding_label(decoding).lower()}"


def decoding_panels(
    rows: list[dict], decodings: list[str], groups: list[str]
) -> list[tuple[str, str]]:
    """Returns the panels with data: decodings one below another, groups side by side."""
    pairs = {(r["decoding"], r["group"]) for r in rows}
    return [(d, g) for d in decodings for g in groups if (d, g) in pairs]


def _members(rows: list[dict], decoding: str, group: str, key: str) -> dict[str, dict]:
    return {r[key]: r for r in rows if (r["decoding"], r["group"]) == (decoding, group)}


def _of_groups(rows: list[dict]) -> list[dict]:
    return [r for r in rows if r["benchmark"] is None and r["mean"] is not None]


def score_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws scores by group, one row per model: mean with interval, every seed, the base as a line."""
    rows = [r for r in _of_groups(summary["scores"]) if r["group"] != REST]
    groups = list(dict.fromkeys(r["group"] for r in rows))
    panels = decoding_panels(rows, summary["decodings"], groups)
    if not panels:
        return None
    labels, look = arm_labels(summary), looks(summary)
    models = [m for m in labels if any(r["model"] == m for r in rows)]
    height = 0.75 + 0.25 * len(models)
    figure, axes = grid(len(panels), len(groups), height, narrow, sharex=True)
    for number, (panel, (decoding, group)) in enumerate(zip(axes, panels, strict=True)):
        members = _members(rows, decoding, group, "model")
        for y, model in enumerate(models):
            if model in members:
                draw_row(panel, y, members[model], look[model])
        if len(summary["bases"]) == 1 and base_names(summary)[0] in members:
            base = members[base_names(summary)[0]]
            panel.axvline(base["mean"], color=GREY, linewidth=0.8, linestyle=(0, (3, 3)))
        colours = [look[m].colour for m in models]
        name_rows(panel, range(len(models)), [labels[m] for m in models], colours)
        panel.set_title(panel_title(group, decoding))
        panel.tick_params(labelbottom=True, labelleft=narrow or number % len(groups) == 0)
        panel.set_xlabel("score (points)")
    least_span(axes, "x", POINT)
    return figure


def frontier_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the gain in math against the change of the other groups."""
    rows = _of_groups(summary["differences"])
    groups = [g for g in dict.fromkeys(r["group"] for r in rows) if g not in (MATH, REST)]
    panels = decoding_panels(rows, summary["decodings"], groups)
    if not panels or not any(r["group"] == MATH for r in rows):
        return None
    figure, axes = grid(len(panels), len(groups), 3.3, narrow, sharex=True, sharey=True)
    texts, drawn = [], set()
    for panel, (decoding, group) in zip(axes, panels, strict=True):
        across, along = (_members(rows, decoding, g, "arm") for g in (MATH, group))
        texts.append((panel, _cross(panel, summary, across, along)))
        drawn |= across.keys() & along.keys()
        zero_line(panel, vertical=True)
        zero_line(panel, vertical=False)
        panel.set_title(panel_title(group, decoding))
        panel.set_xlabel("math, change from base (points)")
        panel.set_ylabel(f"{group_label(group).lower()}, change (points)")
        true_minus(panel, "x", "y")
        panel.tick_params(labelbottom=True, labelleft=True)
    least_span(axes, "xy", POINT)
    _numbers_said(figure, summary, drawn, narrow)
    place_labels(figure, texts)
    return figure


def kl_frontier_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the change of math and of the rest against KL from the base on math."""
    found = rows_of(summary["drift"], HEADLINE_KL)
    divergence = {r["arm"]: r for r in found if r["group"] == MATH}
    rows = [r for r in _of_groups(summary["differences"]) if r["arm"] in divergence]
    groups = [g for g in (MATH, REST) if any(r["group"] == g for r in rows)]
    panels = decoding_panels(rows, summary["decodings"], groups)
    if not panels:
        return None
    figure, axes = grid(len(panels), len(groups), 3.1, narrow)
    texts = []
    for panel, (decoding, group) in zip(axes, panels, strict=True):
        along = _members(rows, decoding, group, "arm")
        texts.append((panel, _cross(panel, summary, divergence, along)))
        zero_line(panel, vertical=False)
        panel.set_title(panel_title(group, decoding))
        panel.set_xlabel("KL(base ‖ tuned) on math (nats per token)")
        panel.set_ylabel("change from base (points)")
        true_minus(panel, "y")
    least_span(axes, "y", POINT)
    for panel in axes:
        from_zero(panel, LEAST_DRIFT)
    _numbers_said(figure, summary, divergence.keys(), narrow)
    place_labels(figure, texts)
    return figure


def _numbers_said(figure: Figure, summary: dict, drawn: Iterable[str], narrow: bool) -> None:
    """Writes the number of each arm, if points have no names."""
    if crowded(summary):
        arms = [arm["name"] for arm in summary["arms"] if arm["name"] in drawn]
        arm_legend(figure, summary, arms, narrow)


def _cross(axes: Axes, summary: dict, across: dict, along: dict) -> list[Label]:
    """Draws the arms that both have: means with intervals in both directions, and the seeds that both have."""
    labels, look = arm_labels(summary), looks(summary)
    texts = []
    many = crowded(summary)
    for arm in (a["name"] for a in summary["arms"] if a["name"] in across.keys() & along.keys()):
        x, y = across[arm], along[arm]
        bar(axes, x["mean"], y["mean"], (y["low"], y["high"]), look[arm], vertical=True, thin=many)
        bar(axes, x["mean"], y["mean"], (x["low"], x["high"]), look[arm], vertical=False, thin=many)
        ends = [{seed["seed"]: seed["mean"] for seed in row["seeds"]} for row in (x, y)]
        shared = [seed for seed in ends[0] if seed in ends[1]]
        seeds = [(ends[0][seed], ends[1][seed]) for seed in shared] if len(shared) > 1 else []
        for pair in seeds:
            point(axes, *pair, look[arm], small=True)
        point(axes, x["mean"], y["mean"], look[arm])
        name = labels[arm].split(".")[0] if many else labels[arm]
        limits = (x["low"], x["high"]), (y["low"], y["high"])
        texts.append(Label(x["mean"], y["mean"], name, look[arm], *limits, seeds))
    axes.margins(0.12)
    return texts


def benchmark_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws every arm's difference on every task: tasks as rows, arms as panels."""
    rows = [r for r in summary["differences"] if r["benchmark"] and r["mean"] is not None]
    tasks = list(dict.fromkeys((r["group"], r["benchmark"]) for r in rows))
    arms = [a["name"] for a in summary["arms"] if any(r["arm"] == a["name"] for r in rows)]
    # A decoding of a single task has a figure of its own, `score_figure`; here almost all of its rows would be blank.
    compared = {
        d: {r["benchmark"] for r in rows if r["decoding"] == d} for d in summary["decodings"]
    }
    panels = [(d, a) for d in compared if len(compared[d]) > 1 or len(tasks) == 1 for a in arms]
    if not panels:
        return None
    labels, look = arm_labels(summary), looks(summary)
    columns = min(4, len(arms))
    figure, axes = grid(len(panels), columns, 0.85 + 0.19 * len(tasks), narrow, sharex=True)
    for number, (panel, (decoding, arm)) in enumerate(zip(axes, panels, strict=True)):
        for row in rows:
            if (row["decoding"], row["arm"]) == (decoding, arm):
                y = tasks.index((row["group"], row["benchmark"]))
                bar(panel, row["mean"], y, (row["low"], row["high"]), look[arm], vertical=False)
                point(panel, row["mean"], y, look[arm])
        zero_line(panel, vertical=True)
        names = [benchmark_label(summary, task) for _, task in tasks]
        name_rows(panel, range(len(tasks)), names, [INK] * len(tasks))
        _between_groups(panel, tasks)
        title = f"{labels[arm]}\n{decoding_label(decoding).lower()}"
        panel.set_title(title, fontsize=8.5, color=look[arm].colour)
        panel.tick_params(labelbottom=True, labelleft=narrow or number % columns == 0)
        panel.set_xlabel("change (points)")
        true_minus(panel, "x")
    least_span(axes, "x", POINT)
    return figure


def _between_groups(axes: Axes, tasks: list[tuple[str, str]]) -> None:
    for y, (first, second) in enumerate(itertools.pairwise(tasks)):
        if first[0] != second[0]:
            axes.axhline(y + 0.5, color=FAINT, linewidth=0.8)
