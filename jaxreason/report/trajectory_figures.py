"""The figures of followed runs: curves over the steps, arms at equal math, and forgetting against drift."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.style import (
    GREY,
    INK,
    Look,
    draw_row,
    grid,
    least_span,
    looks,
    name_rows,
    true_minus,
    zero_line,
)
from jaxreason.report.transfer_tables import MODES
from jaxreason.report.wording import arm_labels, group_label, plain
from jaxreason.results.groups import REST

PANELS = {
    "math": ("Math", "score (points)"),
    "loss": ("Lost outside math", "points below the base"),
    "index": ("Transferability index", ""),
    "kl_training": ("KL(base ‖ tuned), training prompts", "nats per token"),
    "kl_forward": ("KL(base ‖ tuned), base's replies", "nats per token"),
    "kl_reverse": ("KL(tuned ‖ base), tuned replies", "nats per token"),
}
DRIFT_PANELS = ("kl_training", "kl_forward", "kl_reverse")
UNEVEN = 2.0  # times as many steps as another arm has: then the axis is the share of the run
BAND = 0.13  # its opacity
LEAST_POINTS, LEAST_KL, LEAST_X = 1.0, 1e-3, 1.0  # the least that an axis shows
INDEX_ENDS, INDEX_LINEAR = 1000, 100
MARGIN = 0.2  # of the axis of losses, beyond the points
MOST_FITTED = 2  # measures that are drawn


def trajectories(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Math, what else was lost, the index and the KL against the step: an arm's mean over seeds, and its interval."""
    curves = [r for r in summary["over_training"]["curves"] if r["curve"] in PANELS and _defined(r)]
    panels = [
        (name, group)
        for name in PANELS
        for group in dict.fromkeys(row["group"] for row in curves if row["curve"] == name)
    ]
    if not panels:
        return None
    shown, look = _arms(summary, curves), looks(summary)
    share, lasts = _uneven(curves), _lasts(curves)
    figure, axes = grid(len(panels), 3, 2.5, narrow, sharex=True)
    for panel, (name, group) in zip(axes, panels, strict=True):
        members = [r for r in curves if (r["curve"], r["group"]) == (name, group)]
        for row in members:
            _curve(panel, row, look[row["arm"]], lasts[row["arm"]] if share else None)
        _dress(panel, name, group, members, share)
    least_span(
        [p for p, (n, _) in zip(axes, panels, strict=True) if n[:2] != "kl"], "y", LEAST_POINTS
    )
    least_span([p for p, (n, _) in zip(axes, panels, strict=True) if n[:2] == "kl"], "y", LEAST_KL)
    least_span(axes, "x", LEAST_X)
    _legend(figure, summary, shown, narrow)
    return figure


def _defined(row: dict) -> bool:
    return any(point["mean"] is not None for point in row["points"])


def _arms(summary: dict, rows: list[dict]) -> list[str]:
    there = {row["arm"] for row in rows}
    return [arm["name"] for arm in summary["arms"] if arm["name"] in there]


def _uneven(curves: list[dict]) -> bool:
    """Whether arms differ so much in steps that the shorter ones would be a point beside the longest."""
    lasts = _lasts(curves).values()
    return max(lasts) > UNEVEN * max(min(lasts), 1)


def _lasts(curves: list[dict]) -> dict[str, int]:
    """The last evaluated step of each arm."""
    found: dict[str, int] = {}
    for row in curves:
        found[row["arm"]] = max(found.get(row["arm"], 1), row["points"][-1]["step"])
    return found


def _curve(axes: Axes, row: dict, look: Look, last: int | None) -> None:
    points = [p for p in row["points"] if p["mean"] is not None]
    x = [100 * p["step"] / last if last else p["step"] for p in points]
    style = {"color": look.colour, "marker": look.marker, "markersize": 3, "linewidth": 1.4}
    axes.plot(x, [p["mean"] for p in points], **style)
    if points and all(p["low"] is not None and p["high"] is not None for p in points):
        ends = [p["low"] for p in points], [p["high"] for p in points]
        axes.fill_between(x, *ends, color=look.colour, alpha=BAND, linewidth=0)


def _dress(axes: Axes, name: str, group: str | None, rows: list[dict], share: bool) -> None:
    title, label = PANELS[name]
    if name == "index":
        title = f"Index, {group_label(group).lower()}"
        label = MODES.get(rows[0]["mode"], rows[0]["mode"])
        axes.set_yscale("symlog", linthresh=INDEX_LINEAR)
        axes.set_ylim(-INDEX_ENDS, INDEX_ENDS)
        axes.set_yticks((-1000, -100, 0, 100, 1000))
        axes.minorticks_off()
        axes.axhline(100, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)))
    if name in ("index", "loss"):
        zero_line(axes, vertical=False)
    if name == "math":
        axes.axhline(rows[0]["points"][0]["mean"], color=GREY, linewidth=0.8, linestyle=(0, (3, 3)))
    if name.startswith("kl"):
        axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.set_ylabel(label)
    axes.set_xlabel("share of training (%)" if share else "step")
    axes.tick_params(labelbottom=True)
    true_minus(axes, "x", "y")


def _legend(figure: Figure, summary: dict, arms: list[str], narrow: bool) -> None:
    labels, look = arm_labels(summary), looks(summary)
    handles = [
        Line2D([], [], color=look[a].colour, marker=look[a].marker, markersize=4, label=labels[a])
        for a in arms
    ]
    columns = 1 if narrow else min(len(arms), 4)
    style = {"frameon": False, "fontsize": 8, "labelcolor": "linecolor", "handlelength": 1.6}
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **style)


def matched(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Scores outside math and KL of the arms where each first reaches the same score in math."""
    rows = summary["over_training"]["matched"]
    panels = [(row, *part) for row in rows for part in _parts(row)]
    if not panels:
        return None
    labels, look = arm_labels(summary), looks(summary)
    most = max(len(row["arms"]) for row in rows)
    columns = max(len(_parts(row)) for row in rows)
    figure, axes = grid(len(panels), columns, 0.9 + 0.28 * most, narrow)
    for number, (panel, (row, kind, name)) in enumerate(zip(axes, panels, strict=True)):
        arms = [arm for arm in row["arms"] if name in arm[kind]]
        for y, arm in enumerate(arms):
            draw_row(panel, y, arm[kind][name], look[arm["arm"]])
        names = [arm["arm"] for arm in arms]
        colours = [look[n].colour for n in names]
        name_rows(panel, range(len(arms)), [labels[n] for n in names], colours)
        panel.tick_params(labelleft=narrow or number % columns == 0)
        title = group_label(name) if kind == "groups" else PANELS[name][0]
        panel.set_title(f"{title}\nat {plain(row['math'])} math", fontsize=8.5)
        panel.set_xlabel("score (points)" if kind == "groups" else "nats per token")
        if kind == "drift":
            panel.set_xlim(left=0)
    least_span(axes, "x", LEAST_KL)
    return figure


def _parts(row: dict) -> list[tuple[str, str]]:
    """What is drawn of a score: each group outside math, and the KL that is nearest to the training."""
    groups = [name for name in row["arms"][0]["groups"] if name != REST]
    there = [name for name in DRIFT_PANELS if all(name in arm["drift"] for arm in row["arms"])]
    return [*(("groups", name) for name in groups), *(("drift", name) for name in there[:1])]


def forgetting(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Points lost outside math against the KL on training prompts and the measure that fits best."""
    found = summary["over_training"]["forgetting"]
    fits = _drawn(found["fits"]) if found else []
    if not fits:
        return None
    look = looks(summary)
    figure, axes = grid(len(fits), 2, 3.4, narrow, sharey=True)
    for panel, row in zip(axes, fits, strict=True):
        _fitted(panel, row)
        for point in found["points"]:
            x = point["drift"][row["measure"]]
            if x is not None:
                _mark(panel, x, point["loss"], look[point["arm"]], last=point["last"])
        zero_line(panel, vertical=False)
        panel.set_title(row["label"] + _r2(row), fontsize=8.5)
        panel.set_xlabel(row["unit"])
        panel.set_ylabel("lost outside math (points)")
        panel.set_xlim(left=min(0, panel.get_xlim()[0]))
        panel.set_ylim(_ends([point["loss"] for point in found["points"]]))
        true_minus(panel, "x", "y")
    least_span(axes, "y", LEAST_POINTS)
    _legend(figure, summary, _arms(summary, found["points"]), narrow)
    return figure


def _ends(values: list[float]) -> tuple[float, float]:
    """The axis ends that show every point; a fit's interval may leave it where no points hold it."""
    low, high = min(*values, 0.0), max(*values, 0.0)
    return low - MARGIN * (high - low), high + MARGIN * (high - low)


def _drawn(fits: list[dict]) -> list[dict]:
    """The KL on training prompts, if it was measured, and those that fit best."""
    sound = [row for row in fits if row["best"]]
    training = [row for row in sound if row["measure"].endswith(".training")]
    others = [row for row in sound if row not in training]
    return (training + others)[:MOST_FITTED]


def _fitted(axes: Axes, row: dict) -> None:
    x, y, low, high = zip(*row["curve"], strict=True)
    axes.plot(x, y, color=INK, linewidth=1.2, zorder=3)
    if None not in (*low, *high):
        axes.fill_between(x, low, high, color=GREY, alpha=BAND, linewidth=0)


def _r2(row: dict) -> str:
    text = f"\n{row['best']}: R² {plain(row[row['best']]['r2'], 2)}"
    if row["unseen"] is not None:
        text += f", {plain(row['unseen'], 2)} on unseen runs"
    runs = f"{row['num_runs']} run{'s' if row['num_runs'] > 1 else ''}"
    return text + f"; {row['num_points']} points, {runs}"


def _mark(axes: Axes, x: float, y: float, look: Look, last: bool) -> None:
    """A final model filled, an earlier step open."""
    style = {"markeredgecolor": look.colour, "markeredgewidth": 0.9, "zorder": 4 if last else 2.5}
    size, face = (5.5, look.colour) if last else (3.4, "white")
    axes.plot(x, y, look.marker, markersize=size, markerfacecolor=face, **style)
