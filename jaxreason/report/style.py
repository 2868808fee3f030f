"""The look of figures: a colour and a marker for each arm, fonts, grids, legends, and labels that do not overlap."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib import font_manager, transforms
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter

from jaxreason.report.wording import MINUS, arm_labels, base_names

# Okabe and Ito's palette and four more colours, which differ under every common colour blindness; markers differ too.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#6700CF", "#9EBA66", "#5E0A3C", "#314013"),
)
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "d", "p")
SIZES = {"o": 1.0, "s": 0.93, "D": 0.9, "^": 1.15, "v": 1.15, "P": 1.1, "X": 1.1, "*": 1.5}
GREY, INK, FAINT = "#5f6368", "#202124", "#d9dce0"
AXIS, GRID = "#9aa0a6", "#eceef0"
# The replacements of these colours on a dark page; any other colour is unchanged. Text in plain black or white is
# unchanged too, since it is on a background of its own.
DARK = {
    **{INK: "#e8eaed", GREY: "#a3a8ae", FAINT: "#474c52", AXIS: "#7d838a", GRID: "#30343a"},
    **{"#ffffff": "#17191c", "#0072B2": "#3D97DB", "#D55E00": "#F0752B", "#009E73": "#1FB58A"},
    **{"#CC79A7": "#E59AC3", "#E69F00": "#F2B233", "#56B4E9": "#8CD2FA", "#6700CF": "#A078FF"},
    **{"#9EBA66": "#CFE79A", "#5E0A3C": "#B3477F", "#314013": "#2A8458"},
}
FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
LEGEND_LINES, LEGEND_LINE = (
    3,
    0.17,
)  # Entries for which the panels leave room, and inches for each further one.
LEGEND_MARK, LEGEND_LETTER = 0.5, 0.062  # Inches of a line and of a letter in a legend.
WIDE, NARROW = 9.2, 3.9  # Inches: a page's column, and a phone's.


class Look(NamedTuple):
    """The colour and marker of a model."""

    colour: str
    marker: str


def looks(summary: dict[str, Any]) -> dict[str, Look]:
    """Returns the look of each model, which is the same in all figures."""
    found = {name: Look(GREY, "o") for name in base_names(summary)}
    for number, arm in enumerate(summary["arms"]):
        turn = number // len(COLOURS)
        colour = COLOURS[number % len(COLOURS)]
        found[arm["name"]] = Look(colour, MARKERS[(number + turn) % len(MARKERS)])
    return found


def figure_settings() -> dict[str, Any]:
    """Returns matplotlib's settings for all figures."""
    known = set(font_manager.get_font_names())
    return {
        "font.family": [name for name in FONTS if name in known],
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titley": 1.0,  # Where it is anyway; to look for other things there takes a tenth of the drawing.
        "axes.labelcolor": INK,
        "axes.edgecolor": AXIS,
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "xtick.color": AXIS,
        "ytick.color": AXIS,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.color": INK,
        "text.parse_math": False,  # A dollar sign in a label is a plain character.
        "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
        "svg.fonttype": "none",
        "svg.hashsalt": "jaxreason",
    }


def grid(
    count: int, columns: int, height: float, narrow: bool, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Returns a figure of `count` panels of `height` inches: `columns` of them side by side, or one if narrow."""
    columns = 1 if narrow else min(columns, count)
    rows = -(-count // columns)
    with matplotlib.rc_context(figure_settings()):
        figure = Figure(figsize=(NARROW if narrow else WIDE, rows * height))
        FigureCanvasAgg(figure)  # It knows the size of texts, which placing labels needs.
        axes = figure.subplots(rows, columns, squeeze=False, **options).flatten().tolist()
    figure.get_layout_engine().set(h_pad=0.09, w_pad=0.06)
    for extra in axes[count:]:
        extra.set_visible(False)
    return figure, axes[:count]


def find_layout(figure: Figure) -> None:
    """Finds the places of all panels, which stay: call it when all is drawn that needs room."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def bar(
    axes: Axes,
    x: float,
    y: float,
    ends: Sequence[float],
    look: Look,
    vertical: bool,
    thin: bool = False,
) -> None:
    """Draws the interval of a point; thin if there are many."""
    line = ([x, x], ends) if vertical else (ends, [y, y])
    width, alpha = (0.8, 0.5) if thin else (1.4, 1)
    style = {"linewidth": width, "alpha": alpha, "solid_capstyle": "butt", "zorder": 3}
    axes.plot(*line, color=look.colour, **style)


def point(axes: Axes, x: float, y: float, look: Look, small: bool = False) -> None:
    """Draws a mean, or (small, open) the value of one seed."""
    axes.plot(
        x,
        y,
        look.marker,
        markersize=(3.6 if small else 6.5) * SIZES.get(look.marker, 1.0),
        markerfacecolor="white" if small else look.colour,
        markeredgecolor=look.colour if small else "white",
        markeredgewidth=0.9,
        zorder=2.5 if small else 4,
        alpha=0.8 if small else 1,
        clip_on=False,
    )


class Label(NamedTuple):
    """A text that belongs to a point, with that point's intervals and seeds."""

    x: float
    y: float
    text: str
    look: Look
    across: tuple[float, float]
    along: tuple[float, float]
    seeds: Sequence[tuple[float, float]]


def place_labels(figure: Figure, panels: Sequence[tuple[Axes, Sequence[Label]]]) -> None:
    """Writes each label beside its point, at the first of several positions where it covers nothing."""
    # The library adjustText needs as much code here. It moved labels onto zero lines, and crowded ones away from their
    # points.
    find_layout(figure)
    for axes, labels in panels:
        taken = [box for label in labels for box in _around(axes, label)]
        frame = axes.get_window_extent()
        taken += _axis_lines(axes, frame)
        for label in labels:
            tried = ((_cost(text, taken, frame), text) for text in _texts(axes, label))
            best = next(tried)
            for cost, text in tried:
                if best[0] == 0:
                    text.remove()
                    break
                worse = text if cost >= best[0] else best[1]
                best = best if cost >= best[0] else (cost, text)
                worse.remove()
            taken.append(best[1].get_window_extent())


def _texts(axes: Axes, label: Label) -> Iterator[Annotation]:
    for dx, dy, ha, va in _sides():
        yield axes.annotate(
            label.text,
            (label.x, label.y),
            (dx, dy),
            textcoords="offset points",
            ha=ha,
            va=va,
            color=label.look.colour,
            fontweight="bold",
            fontsize=8,
            zorder=6,
        )


def _cost(text: Annotation, taken: Sequence[transforms.Bbox], frame: transforms.Bbox) -> float:
    """Returns how many things a label covers; leaving the panel costs more."""
    box = text.get_window_extent()
    across = frame.x0 <= box.x0 and box.x1 <= frame.x1
    along = frame.y0 <= box.y0 and box.y1 <= frame.y1
    return sum(box.overlaps(other) for other in taken) + 3 * (not across) + 2 * (not along)


def _sides() -> Iterator[tuple[float, float, str, str]]:
    for far in (5, 12, 20, 30):
        yield far, far, "left", "bottom"
        yield far, -far, "left", "top"
        yield -far, far, "right", "bottom"
        yield -far, -far, "right", "top"
    for far in (8, 24):
        yield far, 0, "left", "center"
        yield -far, 0, "right", "center"
        yield 0, far, "center", "bottom"
        yield 0, -far, "center", "top"


def _around(axes: Axes, label: Label) -> list[transforms.Bbox]:
    """Returns the boxes on the page of a point, of its intervals and of its seeds."""
    x, y = axes.transData.transform((label.x, label.y))
    ends = zip(label.across, label.along, strict=True)
    low, high = (axes.transData.transform(end) for end in ends)
    seeds = [axes.transData.transform(seed) for seed in label.seeds]
    boxes = [
        (x - 5, y - 5, x + 5, y + 5),
        (low[0], y - 1, high[0], y + 1),
        (x - 1, low[1], x + 1, high[1]),
        *((a - 3, b - 3, a + 3, b + 3) for a, b in seeds),
    ]
    return [transforms.Bbox.from_extents(*box) for box in boxes]


def _axis_lines(axes: Axes, frame: transforms.Bbox) -> list[transforms.Bbox]:
    """Returns the boxes of the lines through zero."""
    x, y = axes.transData.transform((0, 0))
    boxes = ((x - 1, frame.y0, x + 1, frame.y1), (frame.x0, y - 1, frame.x1, y + 1))
    return [transforms.Bbox.from_extents(*box) for box in boxes]


def name_rows(
    axes: Axes, positions: Sequence[float], labels: list[str], colours: list[str]
) -> None:
    """Draws rows from the top, each with a name in its colour."""
    axes.set_yticks(positions, labels)
    for tick, colour in zip(axes.get_yticklabels(), colours, strict=True):
        tick.set_color(colour)
    axes.set_ylim(positions[-1] + 0.7, positions[0] - 0.7)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def true_minus(axes: Axes, *which: str) -> None:
    """Shows plain numbers with a true minus sign on the given axes."""
    formatter = FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS))
    for name in which:
        getattr(axes, f"{name}axis").set_major_formatter(formatter)


def least_span(panels: Sequence[Axes], which: str, least: float) -> None:
    """Widens axes that show less than `least`.

    If all values are equal, or differ by rounding noise, an axis fitted to them would show only that noise. Call it
    when all panels are drawn.

    Args:
      panels: of a figure.
      which: "x", "y" or both, "xy".
      least: in the units of the axis.
    """
    for axes in panels:
        for name in which:
            low, high = getattr(axes, f"get_{name}lim")()
            if abs(high - low) < least:
                centre, half = (low + high) / 2, least / 2 * (1 if high >= low else -1)
                getattr(axes, f"set_{name}lim")(centre - half, centre + half)


def from_zero(axes: Axes, least: float) -> None:
    """Makes an x axis of distances, which starts at 0 and shows at least `least`."""
    axes.set_xlim(0, max(axes.get_xlim()[1], least))


def zero_line(axes: Axes, vertical: bool) -> None:
    """Draws the line of no change."""
    line = axes.axvline if vertical else axes.axhline
    line(0, color=GREY, linewidth=0.8, zorder=1.5)


def draw_row(axes: Axes, y: float, row: dict, look: Look) -> None:
    """Draws a mean with its interval, and below it every seed if there are several."""
    bar(axes, row["mean"], y, (row["low"], row["high"]), look, vertical=False)
    for seed in row["seeds"] if len(row["seeds"]) > 1 else []:
        point(axes, seed["mean"], y + 0.28, look, small=True)
    point(axes, row["mean"], y, look)


def arm_legend(figure: Figure, summary: dict[str, Any], arms: Iterable[str], narrow: bool) -> None:
    """Adds a legend of the arms' lines below all panels, as wide as fits; a figure can thus stand alone in a paper."""
    arms = list(arms)
    labels, look = arm_labels(summary), looks(summary)
    handles = [
        Line2D([], [], color=look[a].colour, marker=look[a].marker, label=labels[a], markersize=4)
        for a in arms
    ]
    style = {"frameon": False, "fontsize": 7.5, "labelcolor": "linecolor", "handlelength": 1.6}
    longest = max((len(labels[arm]) for arm in arms), default=0)
    room = figure.get_figwidth() // (LEGEND_MARK + LEGEND_LETTER * longest)
    columns = int(max(1, min(2 if narrow else 4, room)))
    more = -(-len(arms) // columns) - LEGEND_LINES
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * max(0, more))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **style)


def smooth(values: Sequence[float], share: float) -> np.ndarray:
    """Returns running means over `share` of a curve; near the ends over the values that exist."""
    width = max(1, round(len(values) * share))
    ones = np.ones(width)
    return np.convolve(values, ones, "same") / np.convolve(np.ones(len(values)), ones, "same")


def legend_below(figure: Figure, summary: dict, arms: list[str], narrow: bool) -> None:
    """Adds a legend of the arms' lines below all panels."""
    labels, look = arm_labels(summary), looks(summary)
    handles = [
        Line2D([], [], color=look[a].colour, marker=look[a].marker, markersize=4, label=labels[a])
        for a in arms
    ]
    columns = 1 if narrow else min(len(arms), 4)
    style = {"frameon": False, "fontsize": 8, "labelcolor": "linecolor", "handlelength": 1.6}
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **style)
