"""Drift of the hidden states, layer by layer: rows, tables and figures, made from the details of the drift metrics."""

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.group_drift import (
    MetricFiles,
    Quantity,
    quantity_rows,
    quantity_table_rows,
    read_metric_files,
)
from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, benchmark_label, find
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Arm, Reader, Study
from jaxreason.report.style import AXIS, GREY, NARROW, Look, grid, least_span, looks, true_minus
from jaxreason.report.wording import arm_labels, crowded, significant

POOL, SOURCE = "reply", "base"  # For all that is shown layer by layer.
STATE_QUANTITIES = (
    Quantity("cka", f"debiased_distance.{POOL}", SOURCE, "CKA distance, debiased", "1 − CKA"),
    Quantity("subspaces", f"angle.{POOL}", SOURCE, "Angle between main axes", "degrees"),
    Quantity("subspaces", f"lost_variance.{POOL}", SOURCE, "Variance off the base's axes", "share"),
    Quantity("frechet", f"mean.{POOL}", SOURCE, "Shift of the mean", "base's variance"),
    Quantity("frechet", f"covariance.{POOL}", SOURCE, "Change of covariance", "base's variance"),
    Quantity("procrustes", f"rotation.{POOL}", SOURCE, "Rotation", "base's variance"),
    Quantity("procrustes", f"scaling.{POOL}", SOURCE, "Scaling", "base's variance"),
    Quantity("procrustes", f"rest.{POOL}", SOURCE, "Neither of them", "base's variance"),
    Quantity("pca_shift", "layer_shift.all", SOURCE, "PCA shift, prompt and reply", "state units"),
    Quantity("pca_shift", "layer_shift.all_no_sinks", SOURCE, "Without sink tokens", "state units"),
    Quantity("sinks", "largest_state", SOURCE, "Longest state, change of size", "log ratio"),
)
# Values that are drawn against the layer: name -> metric and key of its details.
BY_LAYER = {
    "distance": ("cka", "debiased_distance"),
    "angle": ("subspaces", "angle"),
    "mean": ("frechet", "mean"),
    "covariance": ("frechet", "covariance"),
    "rotation": ("procrustes", "rotation"),
    "rest": ("procrustes", "rest"),
}
MAPS = ("base_to_tuned", "base_to_base")
AXES = "Main axes"
SINKS = "Sink tokens a text, in the middle layer"
# Section, label, rows, value.
LINES: tuple[tuple[str, str, str, Callable[[dict], float]], ...] = (
    (AXES, "base's variance on two axes", "variance", lambda row: sum(row["base"][:2])),
    (AXES, "tuned model's variance on its two", "variance", lambda row: sum(row["tuned"][:2])),
    (AXES, "base's variance on all kept", "variance", lambda row: sum(row["base"])),
    (AXES, "tuned model's variance on its kept", "variance", lambda row: sum(row["tuned"])),
    (AXES, "squared shift that lies in the base's plane", "variance", lambda row: row["in_plane"]),
    (SINKS, "base, at the first token", "sinks", lambda row: row["base_first"]),
    (SINKS, "base, later", "sinks", lambda row: row["base_later"]),
    (SINKS, "tuned, at the first token", "sinks", lambda row: row["tuned_first"]),
    (SINKS, "tuned, later", "sinks", lambda row: row["tuned_later"]),
    (SINKS, "left out, of either", "sinks", lambda row: row["excluded"]),
    (SINKS, "of these in the reply", "sinks", lambda row: row["excluded_of_reply"]),
    (SINKS, "base's longest state / median", "sinks", lambda row: row["base_ratio"]),
    (SINKS, "tuned model's longest state / median", "sinks", lambda row: row["tuned_ratio"]),
)
# Benchmarks in a row, as in the paper; fewer on a phone and for many arms.
MOST_MAPS = 5
MOST_NARROW, MOST_CROWDED = 2, 3
IMAGE_DPI = 200  # Of images within the drawing.
MOST_SHAPES = (
    # More states than this in a figure become an image, which is smaller, instead of shapes.
    1000
)
# Panels of `layers`: title, and the axis' label.
LAYER_PANELS = {
    "distance": ("CKA distance, debiased", "1 − CKA"),
    "angle": ("Angle between main axes", "degrees"),
    "mean": ("Shift of the mean", "of base's variance"),
    "covariance": ("Change of covariance", "of base's variance"),
    "rotation": ("Rotation", "of base's variance"),
    "rest": ("Neither rotation nor scaling", "of base's variance"),
}
LINE = 16  # Letters of an arm's label beside a map, and above one.
TITLE = 22
LEAST_MOVE, LEAST_CKA = 1e-3, 0.01  # The smallest range of an axis and of a colour scale.


def hidden_state_rows(reader: Reader, study: Study, how: Resampling) -> dict[str, list[dict]]:
    """Returns all rows about hidden states, on the base's replies.

    Returns:
      `rows`: STATE_QUANTITIES as rows of drift.
      `layers`: every value of BY_LAYER by arm, [L+1] numbers, means over benchmarks and seeds; None for a layer in
        which the base does not vary.
      `maps`: for each benchmark and arm, both models' centres on the base's first two axes in every layer, of the arm's
        first seed.
      `cka`: for each arm, CKA of all layers of the base with all layers of the tuned model and with all of its own.
      `variance`: for each arm, the share of the variance of both models on their first axes, mean over layers.
      `sinks`: for each arm, how many tokens are sinks in both models, and where.

    Raises:
      UserError: a file is broken.
    """
    files = read_metric_files(reader, study, (quantity.metric for quantity in STATE_QUANTITIES))
    made = {"layers": _layers, "maps": _maps, "cka": _cka, "variance": _variance, "sinks": _sinks}
    rows = quantity_rows(study, files, how, STATE_QUANTITIES)
    return {"rows": rows} | {name: make(study, files) for name, make in made.items()}


def _units(study: Study, files: MetricFiles, arm: Arm, metric: str) -> Iterator[tuple[int, dict]]:
    """Yields every seed's details of the study's benchmarks, on the base's replies, where the metric is defined."""
    for seed in arm.seeds:
        found = files.get((arm.name, seed, metric), {"details": {}})
        for unit in found["details"].get("units", ()):
            where = unit.get("source"), unit.get("benchmark") in study.groups
            if where == (SOURCE, True) and "undefined" not in unit:
                yield seed, unit


def _layers(study: Study, files: MetricFiles) -> list[dict]:
    rows = []
    for arm in study.arms:
        for name, (metric, key) in BY_LAYER.items():
            units = [unit.get(POOL, {}) for _, unit in _units(study, files, arm, metric)]
            found = [unit[key] for unit in units if key in unit]
            if found:
                rows.append({"arm": arm.name, "name": name, "values": _mean_of_known(found)})
    return rows


def _mean_of_known(rows: list[list[float | None]]) -> list[float | None]:
    columns = (
        [value for value in column if value is not None] for column in zip(*rows, strict=True)
    )
    return [_short(np.mean(column)) if column else None for column in columns]


def _short(value: Any, digits: int = 4) -> Any:
    """Returns numbers with this many digits; an array as nested lists."""
    if np.ndim(value):
        return [_short(part, digits) for part in value]
    return float(f"{float(value):.{digits}g}")


def _maps(study: Study, files: MetricFiles) -> list[dict]:
    rows = []
    for arm in study.arms:
        for seed, unit in _units(study, files, arm, "pca_shift"):
            if seed == arm.seeds[0] and POOL in unit:
                centres = {m: _short(unit[POOL][f"{m}_centre"]) for m in ("base", "tuned")}
                rows.append(
                    {"arm": arm.name, "benchmark": unit["benchmark"], "seed": seed, **centres}
                )
    return rows


def _cka(study: Study, files: MetricFiles) -> list[dict]:
    """Returns CKA as means over benchmarks and seeds."""
    rows = []
    for arm in study.arms:
        units = [unit.get(POOL, {}) for _, unit in _units(study, files, arm, "cka")]
        units = [unit for unit in units if all(name in unit for name in MAPS)]
        if units:
            means = {
                m: np.mean([unit[m] for unit in units], axis=0).round(3).tolist() for m in MAPS
            }
            rows.append({"arm": arm.name, **means})
    return rows


def _variance(study: Study, files: MetricFiles) -> list[dict]:
    rows = []
    for arm in study.arms:
        units = [unit.get(POOL, {}) for _, unit in _units(study, files, arm, "pca_shift")]
        units = [unit for unit in units if "explained_variance_tuned" in unit]
        if units:
            keys = {"base": "explained_variance", "tuned": "explained_variance_tuned"}
            found = {m: np.mean([unit[key] for unit in units], (0, 1)) for m, key in keys.items()}
            plane = _short(np.mean([unit["shift_in_plane"] for unit in units]))
            shares = {model: _short(part) for model, part in found.items()}
            rows.append({"arm": arm.name, "in_plane": plane, **shares})
    return rows


def _sinks(study: Study, files: MetricFiles) -> list[dict]:
    """Returns means over benchmarks and seeds of numbers per text, in the middle layer."""
    rows = []
    for arm in study.arms:
        units = [unit for _, unit in _units(study, files, arm, "sinks") if "rule" in unit]
        if units:
            found = [_in_middle(unit) for unit in units]
            means = {name: _short(np.mean([row[name] for row in found])) for name in found[0]}
            about = {"layer": units[0]["middle"], "ratio": units[0]["rule"]["ratio"]}
            rows.append({"arm": arm.name, **about, **means})
    return rows


def _in_middle(unit: dict) -> dict[str, float]:
    layer, rows = unit["middle"], unit["by_position"]
    names = ("excluded", "excluded_of_reply", "base_ratio", "tuned_ratio")
    counted = {
        f"{model}_{where}": sum(
            row[model][layer] for row in rows if (row["first"] == 1) == at_first
        )
        for model in ("base", "tuned")
        for where, at_first in (("first", True), ("later", False))
    }
    return {name: unit[name][layer] for name in names} | counted


def state_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns every quantity of hidden states by group, and those of axes and sinks; one column per arm."""
    states, labels = summary["states"], arm_labels(summary)
    names = {row["arm"] for key in ("rows", "variance", "sinks") for row in states[key]}
    arms = [arm for arm in summary["arms"] if arm["name"] in names]
    if not arms:
        return []
    columns = tuple(labels[arm["name"]] for arm in arms)
    shape = [
        row
        for quantity in STATE_QUANTITIES
        for row in quantity_table_rows(summary, states["rows"], quantity, arms)
    ]
    about = [line for name in (AXES, SINKS) for line in _lines(states, name, arms)]
    made = {
        "Hidden states on the base's replies, means over layers. Of a model compared with itself all are 0.": shape,
        "Shares of variance, and sink tokens; means over tasks and seeds, on the base's replies.": about,
    }
    return [Table(caption, columns, tuple(rows)) for caption, rows in made.items() if rows]


def _lines(states: dict, section: str, arms: list[dict]) -> list[TableRow]:
    rows = []
    for _, label, key, value in (line for line in LINES if line[0] == section):
        found = [find(states[key], arm=arm["name"]) for arm in arms]
        if any(found):
            cells = tuple(Cell(significant(value(row))) if row else NONE for row in found)
            rows.append(TableRow(label, cells, section))
    return rows


def pca_maps_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws both models' mean states on the base's first two axes: one row per arm, one column per benchmark."""
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
    }  # Otherwise the arm that moved least would look like all others.
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
    """Returns a grid of small panels, several of which are side by side on a phone too."""
    figure, axes = grid(count, columns, height, False, **options)
    figure.set_dpi(IMAGE_DPI)
    if narrow:
        figure.set_size_inches(NARROW, figure.get_size_inches()[1])
    return figure, axes


def _spread(summary: dict, there: set[str]) -> list[str]:
    """Returns the existing benchmarks, alternating between the groups, so that the first few cover all groups."""
    groups = [[b for b in g["benchmarks"] if b in there] for g in summary["groups"]]
    longest = max((len(group) for group in groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


def _map(axes: Axes, row: dict, look: Look, image: bool) -> None:
    """Draws a map of both models' states.

    The base's states are at 0, as in the paper. A segment joins both models' states of a layer, and later layers are
    darker.
    """
    base, tuned = (np.array(row[model]) for model in ("base", "tuned"))
    ends = np.stack([np.zeros(len(base)), base[:, 1]], 1)
    tips = np.stack([tuned[:, 0] - base[:, 0], tuned[:, 1]], 1)
    shades = np.linspace(0.3, 1, len(base))
    gaps = np.full_like(ends, np.nan)  # One line with gaps, instead of one line per layer.
    segments = np.stack([ends, tips, gaps], 1).reshape(-1, 2)
    axes.plot(*segments.T, color=AXIS, linewidth=0.8, rasterized=image)
    style = {"linewidth": 0.7, "zorder": 3, "clip_on": False, "rasterized": image}
    axes.scatter(*ends.T, 12, facecolor="white", edgecolor=GREY, marker="o", alpha=shades, **style)
    axes.scatter(
        *tips.T, 14, facecolor=look.colour, edgecolor="none", marker="^", alpha=shades, **style
    )
    axes.margins(0.12)


def cka_maps_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws CKA of the base's layers with the tuned model's minus that with its own, one panel per arm."""
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


def state_layers_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the change by layer: a panel for each measure, a line for each arm."""
    rows = summary["states"]["layers"]
    names = [name for name in LAYER_PANELS if any(row["name"] == name for row in rows)]
    if not names:
        return None
    look = looks(summary)
    figure, axes = grid(len(names), 3, 2.5 if crowded(summary) else 2.2, narrow)
    for panel, name in zip(axes, names, strict=True):
        title, unit = LAYER_PANELS[name]
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
