"""The figures of the transferability index: one row per arm, and the map of all arms (figure 2 of the paper)."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.report_tables import find
from jaxreason.report.score_figures import decoding_panels, panel_title
from jaxreason.report.style import (
    COLOURS,
    GREY,
    Label,
    Look,
    bar,
    grid,
    looks,
    name_rows,
    place_labels,
    point,
    zero_line,
)
from jaxreason.report.trait_tables import LEAST_ARMS, size_of
from jaxreason.report.transfer_tables import MODES, one_mode, pooled_rows
from jaxreason.report.wording import arm_labels, crowded, decoding_label, group_label, signed
from jaxreason.results.groups import NON_REASONING, OTHER

INDEX_ENDS, INDEX_LINEAR = 2000, 50  # Of its axis: its ends, and where it becomes logarithmic.
TICKS = (-1000, -100, 0, 100, 1000)
METHODS = ("SFT", "RL")  # They have the first two colours, whatever other methods there are.
LARGEST, SMALLEST = 11.0, 5.0  # Diameters in points.
AXES = (OTHER, NON_REASONING)


def transfer_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the index of every arm over its seeds in one mode, on a signed logarithmic axis."""
    mode = one_mode(summary["transfer"])
    rows = [r for r in summary["transfer"] if r["mode"] == mode]
    groups = list(dict.fromkeys(r["group"] for r in rows))
    panels = decoding_panels(rows, summary["decodings"], groups)
    if not panels:
        return None
    labels, look = arm_labels(summary), looks(summary)
    arms = [a for a in labels if any(r["arm"] == a for r in rows)]
    height = 0.85 + 0.27 * len(arms)
    figure, axes = grid(len(panels), len(groups), height, narrow, sharex=True)
    for number, (panel, (decoding, group)) in enumerate(zip(axes, panels, strict=True)):
        _index_axis(panel)
        members = [r for r in rows if (r["decoding"], r["group"]) == (decoding, group)]
        for y, arm in enumerate(arms):
            _index_row(panel, y, [r for r in members if r["arm"] == arm], look[arm])
        colours = [look[a].colour for a in arms]
        name_rows(panel, range(len(arms)), [labels[a] for a in arms], colours)
        panel.set_title(panel_title(group, decoding))
        panel.tick_params(labelbottom=True, labelleft=narrow or number % len(groups) == 0)
        panel.set_xlabel(f"transferability index ({MODES.get(mode, mode)})")
    return figure


def _index_axis(axes: Axes) -> None:
    axes.set_xscale("symlog", linthresh=INDEX_LINEAR)
    axes.set_xlim(-INDEX_ENDS, INDEX_ENDS)
    ticks = (-1000, -100, 0, 100, 1000)
    axes.set_xticks(ticks, [signed(tick, 0) for tick in ticks])
    axes.minorticks_off()
    zero_line(axes, vertical=True)
    axes.axvline(100, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)))


def _index_row(axes: Axes, y: int, rows: list[dict], look: Look) -> None:
    """Draws the index over all seeds; an arrow shows that its interval leaves the axis or has no end."""
    pooled = next(iter(pooled_rows(rows)), None)
    if pooled is None or pooled["ti"] is None:
        style = {"ha": "center", "va": "center", "fontsize": 7.5, "color": GREY, "style": "italic"}
        where = axes.get_yaxis_transform()
        axes.text(0.5, y, "undefined", transform=where, backgroundcolor="white", **style)
        return
    low = -INDEX_ENDS if pooled["low"] is None else max(pooled["low"], -INDEX_ENDS)
    high = INDEX_ENDS if pooled["high"] is None else min(pooled["high"], INDEX_ENDS)
    bar(axes, pooled["ti"], y, (low, high), look, vertical=False)
    for end, arrow in ((low, "<"), (high, ">")):
        if abs(end) == INDEX_ENDS:
            axes.plot(end, y, arrow, color=look.colour, markersize=4, clip_on=False)
    shown = [r["ti"] for r in rows if r is not pooled and r["ti"] is not None]
    for value in (value for value in shown if abs(value) < INDEX_ENDS):
        point(axes, value, y + 0.28, look, small=True)
    point(axes, max(min(pooled["ti"], INDEX_ENDS), -INDEX_ENDS), y, look)


def transfer_map_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the index on non-reasoning against that on other reasoning, by method (colour) and size."""
    rows = pooled_rows(summary["transfer"])
    mode = one_mode(rows)
    found = {d: _both(rows, d, mode) for d in summary["decodings"]}
    found = {d: arms for d, arms in found.items() if len(arms) >= LEAST_ARMS}
    if not found:
        return None
    tallest = max(map(len, found.values()))
    figure, axes = grid(len(found), 2, 3.6 + 0.07 * tallest, narrow)
    texts = []
    for panel, (decoding, arms) in zip(axes, found.items(), strict=True):
        texts.append((panel, _map(panel, summary, arms, numbered=narrow and crowded(summary))))
        panel.set_title(f"{decoding_label(decoding)}, {MODES.get(mode, mode)}")
    place_labels(figure, texts)
    return figure


def _both(rows: list[dict], decoding: str, mode: str | None) -> dict[str, tuple[dict, dict]]:
    """Returns the rows of both groups of each arm whose index is defined on both."""
    found = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        here = {"arm": arm, "decoding": decoding, "mode": mode}
        pair = tuple(find(rows, **here, group=group) for group in AXES)
        if all(row is not None and row["ti"] is not None for row in pair):
            found[arm] = pair
    return found


def _map(
    axes: Axes, summary: dict, arms: dict[str, tuple[dict, dict]], numbered: bool
) -> list[Label]:
    colours, labels = _methods(summary), arm_labels(summary)
    texts = []
    for arm in (arm for arm in summary["arms"] if arm["name"] in arms):
        across, along = arms[arm["name"]]
        look = colours.get(arm["traits"].get("method", ""), looks(summary)[arm["name"]])
        x, y = across["ti"], along["ti"]
        axes.plot(
            x, y, look.marker, color=look.colour, markersize=_diameter(summary, arm), alpha=0.85
        )
        name = labels[arm["name"]].split(".")[0] if numbered else arm["label"]
        texts.append(Label(x, y, name, look, (x, x), (y, y), ()))
    for name, group in zip("xy", AXES, strict=True):
        getattr(axes, f"set_{name}scale")("symlog", linthresh=INDEX_LINEAR)
        getattr(axes, f"set_{name}ticks")(TICKS, [signed(tick, 0) for tick in TICKS])
        getattr(axes, f"set_{name}label")(f"index, {group_label(group).lower()}")
        getattr(axes, f"set_{name}lim")(_limits(arms, AXES.index(group)))
    axes.minorticks_off()
    zero_line(axes, vertical=True)
    zero_line(axes, vertical=False)
    handles = [
        Line2D([], [], marker=look.marker, color=look.colour, linestyle="", label=method)
        for method, look in colours.items()
        if any(a["traits"].get("method") == method for a in summary["arms"] if a["name"] in arms)
    ]
    if handles:
        axes.legend(handles=handles, loc="best", frameon=False, labelcolor="linecolor")
    return texts


def _limits(arms: dict[str, tuple[dict, dict]], place: int) -> tuple[float, float]:
    values = [pair[place]["ti"] for pair in arms.values()]
    return min(-INDEX_LINEAR, 2 * min(values)), max(2 * INDEX_LINEAR, 2 * max(values))


def _methods(summary: dict) -> dict[str, Look]:
    found = dict.fromkeys(arm["traits"].get("method", "") for arm in summary["arms"])
    names = [*METHODS, *(name for name in found if name and name not in METHODS)]
    return {
        name: Look(COLOURS[(1, 0, 2, 3, 4, 5)[i % 6]], "osD^vP"[i % 6])
        for i, name in enumerate(names)
    }


def _diameter(summary: dict, arm: dict) -> float:
    """Returns the diameter of a point, whose area follows the size in the arm's trait; fixed without that trait."""
    sizes = [s for a in summary["arms"] if (s := size_of(a["traits"].get("size", ""))) is not None]
    own = size_of(arm["traits"].get("size", ""))
    if own is None:
        return 6.5
    return SMALLEST + (LARGEST - SMALLEST) * (own / max(sizes)) ** 0.5
