"""The figures of hidden states: maps of the layers, CKA of layers with layers, and what changed in which layer."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.style import (
    AXIS,
    GREY,
    NARROW,
    Look,
    grid,
    least_span,
    looks,
    true_minus,
)
from jaxreason.report.tables import benchmark_label
from jaxreason.report.wording import arm_labels, crowded

MOST_MAPS = 5  # benchmarks of a row, as in the paper; on a phone and of many arms fewer
MOST_NARROW, MOST_CROWDED = 2, 3
IMAGE_DPI = 200  # of what is an image within the drawing
MOST_SHAPES = (
    1000  # states of a figure that are drawn as shapes; more become an image, which is smaller
)
PANELS = {  # of `layers`: title, and the axis' label
    "distance": ("CKA distance, debiased", "1 − CKA"),
    "angle": ("Angle between main axes", "degrees"),
    "mean": ("Shift of the mean", "of base's variance"),
    "covariance": ("Change of covariance", "of base's variance"),
    "rotation": ("Rotation", "of base's variance"),
    "rest": ("Neither rotation nor scaling", "of base's variance"),
}
LINE = 16  # letters of an arm's label beside a map, and above one
TITLE = 22
LEAST_MOVE, LEAST_CKA = 1e-3, 0.01  # the least that an axis, and a scale of colours, shows


def pca_maps(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Both models' mean states on the base's first two axes: a row an arm, a column a benchmark."""
    rows = summary["states"]["maps"]
    tasks = _spread(summary, {row["benchmark"] for row in rows})
    most = MOST_CROWDED if crowded(summary) else MOST_MAPS
    tasks = tasks[: min(most, MOST_NARROW) if narrow else most]
    arms = [a["name"] for a in summary["arms"] if any(r["arm"] == a["name"] for r in rows)]
    if not tasks or not arms:
        return None
    labels, look = arm_labels(summary), looks(summary)
    shared = {
        "sharex": "col",
        "sharey": "col",
    }  # else the arm that moved least looks like all others
    height = 1.4 if crowded(summary) else 1.75
    figure, axes = _abreast(len(arms) * len(tasks), len(tasks), height, narrow, **shared)
    found = {(row["arm"], row["benchmark"]): row for row in rows}
    many = sum(len(row["base"]) for row in rows if row["benchmark"] in tasks) > MOST_SHAPES
    for number, panel in enumerate(axes):
        arm, task = arms[number // len(tasks)], tasks[number % len(tasks)]
        if (arm, task) in found:
            _map(panel, found[arm, task], look[arm], many)
        if number < len(tasks):
            panel.set_title(benchmark_label(summary, task))
        if number % len(tasks) == 0:
            name = textwrap.fill(labels[arm], LINE)
            style = {"fontsize": 7.5, "fontweight": "bold", "color": look[arm].colour}
            panel.set_ylabel(f"{name}\nPC2", **style)
        if number >= len(axes) - len(tasks):
            panel.set_xlabel("PC1, moved")
        panel.tick_params(labelsize=7, labelbottom=True)
        true_minus(panel, "x", "y")
    least_span(axes, "xy", LEAST_MOVE)
    return figure


def _abreast(
    count: int, columns: int, height: float, narrow: bool, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A grid of small panels, which stand beside each other on a phone, too."""
    figure, axes = grid(count, columns, height, False, **options)
    figure.set_dpi(IMAGE_DPI)
    if narrow:
        figure.set_size_inches(NARROW, figure.get_size_inches()[1])
    return figure, axes


def _spread(summary: dict, there: set[str]) -> list[str]:
    """The benchmarks that are there, the groups in turn, so that the first few are of all groups."""
    groups = [[b for b in g["benchmarks"] if b in there] for g in summary["groups"]]
    longest = max((len(group) for group in groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


def _map(axes: Axes, row: dict, look: Look, image: bool) -> None:
    """The base's states stand at 0, as in the paper; a segment joins both models' states of a layer, and later layers
    are darker.
    """
    base, tuned = (np.array(row[model]) for model in ("base", "tuned"))
    ends = np.stack([np.zeros(len(base)), base[:, 1]], 1)
    tips = np.stack([tuned[:, 0] - base[:, 0], tuned[:, 1]], 1)
    shades = np.linspace(0.3, 1, len(base))
    gaps = np.full_like(ends, np.nan)  # one line with gaps, not a line for each layer
    segments = np.stack([ends, tips, gaps], 1).reshape(-1, 2)
    axes.plot(*segments.T, color=AXIS, linewidth=0.8, rasterized=image)
    style = {"linewidth": 0.7, "zorder": 3, "clip_on": False, "rasterized": image}
    axes.scatter(*ends.T, 12, facecolor="white", edgecolor=GREY, marker="o", alpha=shades, **style)
    axes.scatter(
        *tips.T, 14, facecolor=look.colour, edgecolor="none", marker="^", alpha=shades, **style
    )
    axes.margins(0.12)


def cka_maps(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """CKA of the base's layers with the tuned model's less that with its own, an arm a panel."""
    rows = summary["states"]["cka"]
    if not rows:
        return None
    labels, look = arm_labels(summary), looks(summary)
    moved = [np.array(row["base_to_tuned"]) - np.array(row["base_to_base"]) for row in rows]
    most = max(LEAST_CKA, *(np.abs(part).max() for part in moved))
    figure, axes = _abreast(len(rows), 2 if narrow else 4, 2.2 if narrow else 2.5, narrow)
    for panel, row, part in zip(axes, rows, moved, strict=True):
        ends = {"vmin": -most, "vmax": most, "cmap": "RdBu", "origin": "lower"}
        image = panel.imshow(part, interpolation="nearest", **ends)
        name = textwrap.fill(labels[row["arm"]], TITLE)
        panel.set_title(name, color=look[row["arm"]].colour, fontsize=8.5)
        panel.set_xlabel("tuned model's layer")
        panel.set_ylabel("base's layer")
        panel.grid(visible=False)
        for name in "xy":
            getattr(panel, f"{name}axis").get_major_locator().set_params(integer=True)
    beside = {"shrink": 0.8 / -(-len(rows) // 4), "aspect": 30}
    place = {"location": "bottom", "aspect": 40} if narrow else beside
    bar = figure.colorbar(image, ax=axes, pad=0.02, **place)
    bar.set_label("CKA with tuned − CKA with base")
    bar.set_ticks([float(f"{end * most:.1g}") for end in (-1, 0, 1)])
    bar.outline.set_visible(False)
    true_minus(bar.ax, "x" if narrow else "y")
    return figure


def state_layers(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """What changed in which layer: a panel a measure, a line an arm."""
    rows = summary["states"]["layers"]
    names = [name for name in PANELS if any(row["name"] == name for row in rows)]
    if not names:
        return None
    look = looks(summary)
    figure, axes = grid(len(names), 3, 2.5 if crowded(summary) else 2.2, narrow)
    for panel, name in zip(axes, names, strict=True):
        title, unit = PANELS[name]
        for row in (row for row in rows if row["name"] == name):
            values = [np.nan if value is None else value for value in row["values"]]
            marks = {"marker": look[row["arm"]].marker, "markersize": 3.5}
            marks["markevery"] = max(1, len(values) // 8)
            panel.plot(values, color=look[row["arm"]].colour, linewidth=1.2, **marks)
        panel.set_title(title)
        panel.set_xlabel("layer (0: embeddings)")
        panel.set_ylabel(unit)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.set_ylim(0, max(panel.get_ylim()[1], LEAST_MOVE))
    drawn = [arm for arm in look if any(row["arm"] == arm for row in rows)]
    _legend_below(figure, summary, drawn, (1 if narrow else 3) + (not crowded(summary)))
    return figure


def _legend_below(figure: Figure, summary: dict, arms: list[str], columns: int) -> None:
    labels, look = arm_labels(summary), looks(summary)
    kinds = {arm: {"color": look[arm].colour, "marker": look[arm].marker} for arm in arms}
    handles = [
        Line2D([], [], label=labels[arm], markersize=3.5, **kind) for arm, kind in kinds.items()
    ]
    style = {"frameon": False, "labelcolor": "linecolor", "fontsize": 7.5, "handlelength": 1.6}
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **style)
