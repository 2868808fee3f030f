"""Figures of weights: what changed in which layer, in which directions, and what runs changed alike."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from jaxreason.report.style import (
    GREY,
    INK,
    NARROW,
    WIDE,
    grid,
    least_span,
    looks,
    name_rows,
    point,
)
from jaxreason.report.weight_tables import NORMS
from jaxreason.report.wording import arm_labels, plain

PANELS = {"changed_share": "Share changed in bfloat16", "relative_l2": "|Δw| / |w|"}
SIDES = {"left": "output side", "right": "input side"}
MOST_NUMBERED = 10  # runs; with more the squares are too small for numbers
WIDE_COLUMNS, NARROW_COLUMNS = 4, 1  # of a legend
SHADE = "#0072B2"


def layers(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """The share changed and the relative update of every layer, a line an arm."""
    rows = [row for row in summary["weight_space"] if row["by_layer"]]
    if not rows:
        return None
    look = looks(summary)
    figure, axes = grid(len(PANELS), 2, 2.4 + _legend_height(rows, 2, narrow), narrow)
    for panel, (name, title) in zip(axes, PANELS.items(), strict=True):
        for row in rows:
            values = [100 * layer[name] for layer in row["by_layer"]]
            own = look[row["arm"]]
            style = {"marker": own.marker, "markersize": 3.2, "markeredgewidth": 0}
            panel.plot(range(len(values)), values, color=own.colour, linewidth=1.2, **style)
        panel.set_title(title)
        panel.set_xlabel("layer")
        panel.set_ylabel("%")
        panel.set_ylim(0, 1.06 * panel.get_ylim()[1])
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, summary, rows)
    least_span(axes, "y", 1e-3)
    return figure


def _legend(figure: Figure, summary: dict, rows: list[dict], *more: Line2D) -> None:
    """Below the panels, where it covers nothing however many arms there are."""
    labels, look = arm_labels(summary), looks(summary)
    handles = []
    for own, label in ((look[row["arm"]], labels[row["arm"]]) for row in rows):
        style = {"color": own.colour, "marker": own.marker, "markersize": 3.5}
        handles.append(Line2D([], [], label=label, **style))
    columns = NARROW_COLUMNS if figure.get_figwidth() < WIDE else WIDE_COLUMNS
    style = {"frameon": False, "fontsize": 7.5, "handlelength": 1.6, "ncols": columns}
    figure.legend(handles=[*handles, *more], loc="outside lower center", **style)


def _legend_height(rows: list[dict], panels: int, narrow: bool) -> float:
    """What a legend adds to the height of each row of panels, in inches."""
    lines = 1 + len(rows) // (NARROW_COLUMNS if narrow else WIDE_COLUMNS)
    return (0.25 + 0.17 * lines) / (panels if narrow else 1)


def directions(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """How an update lies to the base's leading directions, by kind of matrix, and its own singular values."""
    rows = [row for row in summary["weight_space"] if row["whole"].get("over_chance_left")]
    if not rows:
        return None
    kinds = dict.fromkeys(kind for row in rows for kind in row["by_kind"] if kind[-4:] not in NORMS)
    kinds = [k for k in kinds if any(r["by_kind"].get(k, {}).get("over_chance_left") for r in rows)]
    height = max(2.3, 0.8 + 0.26 * len(kinds)) + _legend_height(rows, 3, narrow)
    figure, axes = grid(3, 3, height, narrow)
    for number, (panel, (side, title)) in enumerate(zip(axes, SIDES.items(), strict=False)):
        _overlap_panel(panel, summary, rows, kinds, side)
        panel.set_title(f"Δw on leading directions, {title}", fontsize=8)
        panel.tick_params(labelleft=narrow or number == 0)
    _legend(figure, summary, rows, _spectrum_panel(axes[2], summary, rows))
    return figure


def _overlap_panel(
    axes: Axes, summary: dict, rows: list[dict], kinds: list[str], side: str
) -> None:
    look = looks(summary)
    for number, row in enumerate(rows):
        apart = 0.6 * ((number + 0.5) / len(rows) - 0.5)  # arms one below another
        for y, kind in enumerate(kinds):
            value = row["by_kind"].get(kind, {}).get(f"over_chance_{side}")
            if value:
                point(axes, value, y + apart, look[row["arm"]], small=len(rows) > 4)
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)))
    name_rows(axes, range(len(kinds)), kinds, [INK] * len(kinds))
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.5), max(high, 2.0))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlabel("times chance (1: as a random update)")


def _spectrum_panel(axes: Axes, summary: dict, rows: list[dict]) -> Line2D:
    look = looks(summary)
    for row in rows:
        values = row["spectrum"]["values"]
        axes.plot(range(1, len(values) + 1), values, color=look[row["arm"]].colour, linewidth=1.3)
    base = rows[0]["spectrum"]["base_values"]
    style = {"color": GREY, "linewidth": 1, "linestyle": (0, (3, 3)), "label": "the base's own"}
    (line,) = axes.plot(range(1, len(base) + 1), base, **style)
    axes.set_title("Singular values of Δw", fontsize=8)
    axes.set_xlabel("direction")
    axes.set_ylabel("over the first")
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return line


def overlap(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """What two runs changed alike beyond chance (below the diagonal), and the cosine of their updates (above it)."""
    bases = [base for base in summary["weight_overlap"] if base["pairs"]]
    if not bases:
        return None
    size = max(len(base["members"]) for base in bases)
    figure, axes = grid(len(bases), 2, min(NARROW, 1.4 + 0.34 * size), narrow)
    for panel, base in zip(axes, bases, strict=True):
        _matrix(panel, summary, base)
    return figure


def _matrix(axes: Axes, summary: dict, base: dict) -> None:
    number, numbered = len(base["members"]), len(base["members"]) <= MOST_NUMBERED
    for pair in base["pairs"]:
        below, above = (pair["second"], pair["first"]), (pair["first"], pair["second"])
        for (y, x), value in ((below, beyond_chance(pair)), (above, pair["cosine"])):
            if value is None:
                continue
            square = {"facecolor": SHADE, "alpha": 0.05 + 0.8 * max(value, 0), "linewidth": 0}
            axes.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, **square))
            if numbered:
                style = {"ha": "center", "va": "center", "fontsize": 7, "color": INK}
                axes.text(x, y, plain(round(value, 2) + 0.0, 2), **style)
    places: dict[str, list[int]] = {}
    for place, member in enumerate(base["members"]):
        places.setdefault(member["arm"], []).append(place)
    labels, look = arm_labels(summary), looks(summary)
    middles = [sum(seeds) / len(seeds) for seeds in places.values()]
    name_rows(axes, middles, [labels[a] for a in places], [look[a].colour for a in places])
    axes.set_ylim(number - 0.5, -0.5)
    axes.set_xlim(-0.5, number - 0.5)
    axes.set_xticks([])
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_title("Changed alike beyond chance;\nabove the diagonal: cosine", fontsize=8)


def beyond_chance(pair: dict[str, Any]) -> float | None:
    """0 where two runs changed the same weights as often as by chance, 1 where they changed the very same."""
    found, chance = pair["jaccard"], pair["jaccard_chance_by_tensor"]
    return None if found is None or chance == 1 else (found - chance) / (1 - chance)
