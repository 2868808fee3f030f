"""Drift of the weights: rows, tables and figures by layer, kind and direction, and what runs changed alike."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from jaxreason.report.report_tables import NONE, Cell, Table, TableRow
from jaxreason.report.study_reader import Arm, Reader, Study
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
from jaxreason.report.wording import arm_labels, plain_number, significant
from jaxreason.results.drift_files import read_drift, read_overlap

NORMS = ("norm", "bias")  # They have few numbers each and no row in the table by kind.
PANELS = {"changed_share": "Share changed in bfloat16", "relative_l2": "|Δw| / |w|"}
SIDES = {"left": "output side", "right": "input side"}
MOST_NUMBERED = 10  # Runs; with more the squares are too small for numbers.
WIDE_COLUMNS, NARROW_COLUMNS = 4, 1  # Of a legend.
SHADE = "#0072B2"


def weight_space_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """Returns one row per arm: means over its seeds, as a whole, by kind and by layer, and its updates' spectrum."""
    rows = [_row(reader, arm) for arm in study.arms]
    return [row for row in rows if row is not None]


def _row(reader: Reader, arm: Arm) -> dict[str, Any] | None:
    found = {}
    for seed in arm.seeds:
        value = read_drift(reader.folder / arm.folder(seed), "weights", reader)
        # Models on devices have fewer values.
        if value is not None and "whole" in value["details"]:
            found[seed] = value["details"]
    if not found:
        return None
    kinds = list(dict.fromkeys(kind for one in found.values() for kind in one["by_kind"]))
    depth = min(len(one["by_layer"]) for one in found.values())
    return {
        "arm": arm.name,
        "seeds": list(found),
        "whole": _mean([one["whole"] for one in found.values()]),
        "by_kind": {
            kind: _mean([one["by_kind"][kind] for one in found.values() if kind in one["by_kind"]])
            for kind in kinds
        },
        "by_layer": [_mean([one["by_layer"][n] for one in found.values()]) for n in range(depth)],
        "spectrum": {name: _spectrum(found, name) for name in ("values", "base_values")},
    }


def _mean(parts: list[dict[str, float]]) -> dict[str, float]:
    """Returns the mean of every quantity that all have, the unchanged share, and overlaps relative to chance."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    found = {name: float(np.mean([part[name] for part in parts])) for name in names}
    found["unchanged_share"] = 1 - found["changed_share"]
    for side in ("left", "right"):
        if f"overlap_{side}" in found and found.get(f"chance_{side}"):
            found[f"over_chance_{side}"] = found[f"overlap_{side}"] / found[f"chance_{side}"]
    return found


def _spectrum(found: dict[int, dict], name: str) -> list[float]:
    """Returns leading singular values relative to the first, as a mean over the matrices of all seeds that moved."""
    moved = [t["directions"] for one in found.values() for t in one["tensors"] if t["directions"]]
    values = [np.array(one[name]) for one in moved if one[name][0]]
    if not values:
        return []
    shortest = min(map(len, values))
    return [float(x) for x in np.mean([v[:shortest] / v[0] for v in values], axis=0)]


def overlap_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """Returns for each base the runs that were compared, and a row for each pair of them.

    Raises:
      UserError: the file is broken.
    """
    value = read_overlap(reader.folder, reader)
    known = {arm.name for arm in study.arms}
    if value is None:
        return []
    bases = [base for base in value["bases"] if all(m["arm"] in known for m in base["members"])]
    kept = ("jaccard", "jaccard_chance_by_tensor", "cosine", "first_in_second", "second_in_first")
    return [
        {
            "members": [{"arm": m["arm"], "seed": m["seed"]} for m in base["members"]],
            "pairs": [{k: p[k] for k in ("first", "second", *kept)} for p in base["pairs"]],
        }
        for base in bases
    ]


class WeightQuantity(NamedTuple):
    """A quantity of weights: its label, and a function that returns it from a row of means (None if it has none)."""

    label: str
    value: Callable[[dict[str, float]], float | None]


def _percent(name: str) -> Callable[[dict], float | None]:
    return lambda row: 100 * row[name] if name in row else None


def _plain(name: str) -> Callable[[dict], float | None]:
    return lambda row: row.get(name)


SHOWN = (
    WeightQuantity("unchanged in bfloat16 (%)", _percent("unchanged_share")),
    WeightQuantity("|Δw| / |w| (%)", _percent("relative_l2")),
    WeightQuantity("|Δw|", _plain("update_l2")),
    WeightQuantity("effective rank of Δw (% of full)", _percent("rank_share")),
    WeightQuantity("energy of Δw in the first 1 % of directions (%)", _percent("top_1")),
    WeightQuantity("energy of Δw in the first 10 % of directions (%)", _percent("top_10")),
    WeightQuantity(
        "Δw on the base's leading output directions (× chance)", _plain("over_chance_left")
    ),
    WeightQuantity(
        "Δw on the base's leading input directions (× chance)", _plain("over_chance_right")
    ),
    WeightQuantity("change of singular values (%)", _percent("spectral_drift")),
    WeightQuantity("rotation of leading output directions (°)", _plain("rotation_left")),
)


BY_KIND = (SHOWN[0], SHOWN[1], SHOWN[3], SHOWN[6], SHOWN[7])


def weight_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns every arm over all weights; ranks and directions are means over the matrices of the layers."""
    found = summary["weight_space"]
    labels = arm_labels(summary)
    rows = [_line(shown, shown.label, [row["whole"] for row in found], "") for shown in SHOWN]
    caption = "How the weights moved from the base's, means over seeds. Δw is the update."
    return _table(caption, [labels[row["arm"]] for row in found], rows)


def weight_kind_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns every arm by kind of parameter."""
    found, labels = summary["weight_space"], arm_labels(summary)
    kinds = list(dict.fromkeys(kind for row in found for kind in row["by_kind"]))
    kinds = [kind for kind in kinds if not kind.endswith(NORMS)]
    rows = []
    for shown in BY_KIND:
        lines = (
            _line(shown, kind, [row["by_kind"].get(kind, {}) for row in found], shown.label)
            for kind in kinds
        )
        rows += [line for line in lines if line and any(cell != NONE for cell in line.cells)]
    return _table("Weights by kind of parameter.", [labels[row["arm"]] for row in found], rows)


def _line(shown: WeightQuantity, label: str, rows: list[dict], section: str) -> TableRow | None:
    values = [shown.value(row) if row else None for row in rows]
    cells = tuple(NONE if value is None else Cell(significant(value)) for value in values)
    return TableRow(label, cells, section)


def _table(caption: str, columns: list[str], rows: list[TableRow]) -> list[Table]:
    rows = [row for row in rows if any(cell != NONE for cell in row.cells)]
    return [Table(caption, tuple(columns), tuple(rows))] if columns and rows else []


def overlap_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns one row per pair of runs of one base: how similar the changed weights and the updates are."""
    made = []
    for base in summary["weight_overlap"]:
        names = member_labels(summary, base["members"])
        rows = [
            TableRow(f"{names[pair['first']]}, {names[pair['second']]}", _overlap_cells(pair))
            for pair in base["pairs"]
        ]
        caption = (
            "Weights that two runs changed: those that both changed of those that either did, and the cosine of "
            "their updates. By chance: as many in each tensor, anywhere in it."
        )
        columns = (
            "Jaccard index",
            "by chance",
            "cosine",
            "share of the first's",
            "of the second's",
        )
        made.append(Table(caption, columns, tuple(rows)))
    return made


def _overlap_cells(pair: dict[str, Any]) -> tuple[Cell, ...]:
    names = ("jaccard", "jaccard_chance_by_tensor", "cosine", "first_in_second", "second_in_first")
    return tuple(
        NONE if pair[name] is None else Cell(plain_number(pair[name], 3)) for name in names
    )


def member_labels(summary: dict[str, Any], members: list[dict[str, Any]]) -> list[str]:
    """Returns arms' labels, with the seed if the arm has several among the members."""
    labels, arms = arm_labels(summary), [member["arm"] for member in members]
    return [
        labels[m["arm"]] + (f", seed {m['seed']}" if arms.count(m["arm"]) > 1 else "")
        for m in members
    ]


def weight_layers_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the share changed and the relative update of every layer, one line per arm."""
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
    _weight_legend(figure, summary, rows)
    least_span(axes, "y", 1e-3)
    return figure


def _weight_legend(figure: Figure, summary: dict, rows: list[dict], *more: Line2D) -> None:
    """Adds a legend below the panels, where it covers nothing for any number of arms."""
    labels, look = arm_labels(summary), looks(summary)
    handles = []
    for own, label in ((look[row["arm"]], labels[row["arm"]]) for row in rows):
        style = {"color": own.colour, "marker": own.marker, "markersize": 3.5}
        handles.append(Line2D([], [], label=label, **style))
    columns = NARROW_COLUMNS if figure.get_figwidth() < WIDE else WIDE_COLUMNS
    style = {"frameon": False, "fontsize": 7.5, "handlelength": 1.6, "ncols": columns}
    figure.legend(handles=[*handles, *more], loc="outside lower center", **style)


def _legend_height(rows: list[dict], panels: int, narrow: bool) -> float:
    """Returns the height that a legend adds to each row of panels, in inches."""
    lines = 1 + len(rows) // (NARROW_COLUMNS if narrow else WIDE_COLUMNS)
    return (0.25 + 0.17 * lines) / (panels if narrow else 1)


def weight_directions_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws how an update lies to the base's leading directions, by kind of matrix, and its own singular values."""
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
    _weight_legend(figure, summary, rows, _spectrum_panel(axes[2], summary, rows))
    return figure


def _overlap_panel(
    axes: Axes, summary: dict, rows: list[dict], kinds: list[str], side: str
) -> None:
    look = looks(summary)
    for number, row in enumerate(rows):
        apart = 0.6 * ((number + 0.5) / len(rows) - 0.5)  # Arms are drawn one below another.
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


def weight_overlap_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the shared changes of two runs beyond chance (below the diagonal) and their updates' cosine (above)."""
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
                axes.text(x, y, plain_number(round(value, 2) + 0.0, 2), **style)
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
    """Returns 0 if two runs changed the same weights as often as by chance, 1 if they changed exactly the same."""
    found, chance = pair["jaccard"], pair["jaccard_chance_by_tensor"]
    return None if found is None or chance == 1 else (found - chance) / (1 - chance)
