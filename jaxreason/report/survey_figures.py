"""Figures of many models at once: the map of the index (figure 2 of the paper), and the paper's numbers beside ours."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.fidelity_rows import INDEX, KINDS, SCORE
from jaxreason.report.fidelity_tables import LABELS
from jaxreason.report.style import (
    COLOURS,
    FAINT,
    GREY,
    Label,
    Look,
    bar,
    grid,
    looks,
    place_labels,
    point,
    true_minus,
    zero_line,
)
from jaxreason.report.tables import find
from jaxreason.report.trait_rows import LEAST_ARMS, size_of
from jaxreason.report.transfer_tables import MODES, one_mode, pooled_rows
from jaxreason.report.wording import MINUS, arm_labels, crowded, decoding_label, group_label, signed
from jaxreason.results.groups import NON_REASONING, OTHER

LINEAR = 50  # of the index' axes: where they turn logarithmic
TICKS = (-1000, -100, 0, 100, 1000)
METHODS = ("SFT", "RL")  # their colours are the first two, whatever there is beside them
LARGEST, SMALLEST = 11.0, 5.0  # points across
AXES = (OTHER, NON_REASONING)


def transfer_map(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """The index on non-reasoning against that on other reasoning, by method (colour) and size."""
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
    """The rows of both groups of each arm whose index is defined on both."""
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
        getattr(axes, f"set_{name}scale")("symlog", linthresh=LINEAR)
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
    return min(-LINEAR, 2 * min(values)), max(2 * LINEAR, 2 * max(values))


def _methods(summary: dict) -> dict[str, Look]:
    found = dict.fromkeys(arm["traits"].get("method", "") for arm in summary["arms"])
    names = [*METHODS, *(name for name in found if name and name not in METHODS)]
    return {
        name: Look(COLOURS[(1, 0, 2, 3, 4, 5)[i % 6]], "osD^vP"[i % 6])
        for i, name in enumerate(names)
    }


def _diameter(summary: dict, arm: dict) -> float:
    """By the size that the arm's trait says, areas in proportion to the root of it; a plain one without."""
    sizes = [s for a in summary["arms"] if (s := size_of(a["traits"].get("size", ""))) is not None]
    own = size_of(arm["traits"].get("size", ""))
    if own is None:
        return 6.5
    return SMALLEST + (LARGEST - SMALLEST) * (own / max(sizes)) ** 0.5


def fidelity(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Ours against the published number, a panel a kind: on the line both are the same."""
    rows = [row for row in summary["fidelity"] if row["mean"] is not None]
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    kinds = [kind for kind in kinds if kind != "mean"]  # their benchmarks are there
    if not kinds:
        return None
    look, arms = looks(summary), [arm["name"] for arm in summary["arms"]]
    figure, axes = grid(len(kinds), 3, 3.0, narrow)
    for panel, kind in zip(axes, kinds, strict=True):
        members = [row for row in rows if row["kind"] == kind]
        for row in members:
            colour = look[row["model"]].colour if row["model"] in arms else GREY
            one = Look(colour, look[row["model"]].marker)
            if row["low"] is not None and row["high"] is not None:
                ends = row["low"], row["high"]
                bar(panel, row["published"], row["mean"], ends, one, vertical=True, thin=True)
            point(panel, row["published"], row["mean"], one, small=len(members) > 40)
        _same_scale(panel, kind, members)
        panel.set_title(LABELS[kind])
        panel.set_xlabel("published")
        panel.set_ylabel("ours")
    return figure


def _same_scale(axes: Axes, kind: str, rows: list[dict]) -> None:
    """Equal axes with the diagonal; logarithmic outside of a line around 0 where numbers span decades."""
    values = [value for row in rows for value in (row["published"], row["mean"])]
    low, high = min(0.0, *values), max(values)
    room = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - room * (low < 0), high + room)
    axes.set_ylim(low - room * (low < 0), high + room)
    true_minus(axes, "x", "y")
    if kind != SCORE:
        linear = (
            LINEAR
            if kind == INDEX
            else max(min(filter(None, map(abs, values)), default=1.0), high / 1e4)
        )
        ticks = _decades(low, high, linear)
        for name in "xy":
            getattr(axes, f"set_{name}scale")("symlog", linthresh=linear)
            getattr(axes, f"set_{name}ticks")(ticks, [_number(tick) for tick in ticks])
        axes.minorticks_off()
    axes.axline((0, 0), (1, 1), color=FAINT, linewidth=1.0, zorder=1)


def _decades(low: float, high: float, linear: float) -> list[float]:
    """0 and the powers of ten beyond the linear part, those that the axis shows."""
    powers = [10.0**k for k in range(-6, 7) if 10.0**k > linear]
    return [-x for x in reversed(powers) if -x >= low] + [0.0] + [x for x in powers if x <= high]


def _number(value: float) -> str:
    return f"{value:g}".replace("-", MINUS)
