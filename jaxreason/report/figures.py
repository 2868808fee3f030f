"""The figures of scores and of the trade between groups, and how any figure becomes files."""

import io
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreason.report import (
    cross_figures,
    drift_figures,
    shifted_figures,
    state_figures,
    survey_figures,
    trajectory_figures,
    weight_figures,
)
from jaxreason.report.drift_rows import HEADLINE_KL, rows_of
from jaxreason.report.panel_titles import wrap_titles
from jaxreason.report.position_figures import kl_positions
from jaxreason.report.style import (
    FAINT,
    GREY,
    INK,
    Label,
    Look,
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
    settings,
    true_minus,
    zero_line,
)
from jaxreason.report.tables import benchmark_label
from jaxreason.report.transfer_tables import MODES, one_mode, pooled_rows
from jaxreason.report.wording import (
    arm_labels,
    base_names,
    crowded,
    decoding_label,
    group_label,
    signed,
)
from jaxreason.results.groups import MATH, REST

POINT = 1.0  # the least that an axis of scores shows
BROWSER_FONTS = "font-family: 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
INDEX_ENDS, INDEX_LINEAR = 2000, 50  # of its axis: ends, and where it turns logarithmic


class Drawn(NamedTuple):
    """A figure as files: wide and narrow SVG, and a PNG of the wide one."""

    svg: str
    narrow_svg: str
    png: bytes


def draw(function: Callable[[dict, bool], Figure | None], summary: dict[str, Any]) -> Drawn | None:
    """Both layouts of a figure; None if the summary holds nothing to draw."""
    with matplotlib.rc_context(settings()):
        wide = function(summary, False)
        if wide is None:
            return None
        wrap_titles(wide)
        svg = _svg(wide)
        wide.set_layout_engine("none")  # the layout is found, and need not be found again
        narrow = function(summary, True)
        wrap_titles(narrow)
        return Drawn(svg, _svg(narrow), _png(wide))


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return re.sub(r"font-family: [^;\"]*", BROWSER_FONTS, text[text.index("<svg") :])


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=200, metadata={"Software": None})
    return out.getvalue()


def _title(group: str, decoding: str) -> str:
    return f"{group_label(group)}, {decoding_label(decoding).lower()}"


def _panels(rows: list[dict], decodings: list[str], groups: list[str]) -> list[tuple[str, str]]:
    """Decodings one below another, groups abreast, as far as there are rows."""
    pairs = {(r["decoding"], r["group"]) for r in rows}
    return [(d, g) for d in decodings for g in groups if (d, g) in pairs]


def _members(rows: list[dict], decoding: str, group: str, key: str) -> dict[str, dict]:
    return {r[key]: r for r in rows if (r["decoding"], r["group"]) == (decoding, group)}


def _of_groups(rows: list[dict]) -> list[dict]:
    return [r for r in rows if r["benchmark"] is None and r["mean"] is not None]


def scores(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Scores by group, a row a model: mean with interval, every seed, the base as a line."""
    rows = [r for r in _of_groups(summary["scores"]) if r["group"] != REST]
    groups = list(dict.fromkeys(r["group"] for r in rows))
    panels = _panels(rows, summary["decodings"], groups)
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
        panel.set_title(_title(group, decoding))
        panel.tick_params(labelbottom=True, labelleft=narrow or number % len(groups) == 0)
        panel.set_xlabel("score (points)")
    least_span(axes, "x", POINT)
    return figure


def frontier(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Math gained against what became of the other groups."""
    rows = _of_groups(summary["differences"])
    groups = [g for g in dict.fromkeys(r["group"] for r in rows) if g not in (MATH, REST)]
    panels = _panels(rows, summary["decodings"], groups)
    if not panels or not any(r["group"] == MATH for r in rows):
        return None
    figure, axes = grid(len(panels), len(groups), 3.3, narrow, sharex=True, sharey=True)
    texts = []
    for panel, (decoding, group) in zip(axes, panels, strict=True):
        across, along = (_members(rows, decoding, g, "arm") for g in (MATH, group))
        texts.append((panel, _cross(panel, summary, across, along)))
        zero_line(panel, vertical=True)
        zero_line(panel, vertical=False)
        panel.set_title(_title(group, decoding))
        panel.set_xlabel("math, change from base (points)")
        panel.set_ylabel(f"{group_label(group).lower()}, change (points)")
        true_minus(panel, "x", "y")
        panel.tick_params(labelbottom=True, labelleft=True)
    least_span(axes, "xy", POINT)
    _numbers_said(figure, summary, across.keys() & along.keys(), narrow)
    place_labels(figure, texts)
    return figure


def kl_frontier(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Change of math and of the rest against KL from the base on math."""
    found = rows_of(summary["drift"], HEADLINE_KL)
    divergence = {r["arm"]: r for r in found if r["group"] == MATH}
    rows = [r for r in _of_groups(summary["differences"]) if r["arm"] in divergence]
    groups = [g for g in (MATH, REST) if any(r["group"] == g for r in rows)]
    panels = _panels(rows, summary["decodings"], groups)
    if not panels:
        return None
    figure, axes = grid(len(panels), len(groups), 3.1, narrow)
    texts = []
    for panel, (decoding, group) in zip(axes, panels, strict=True):
        along = _members(rows, decoding, group, "arm")
        texts.append((panel, _cross(panel, summary, divergence, along)))
        zero_line(panel, vertical=False)
        panel.set_title(_title(group, decoding))
        panel.set_xlabel("KL(base ‖ tuned) on math (nats per token)")
        panel.set_ylabel("change from base (points)")
        true_minus(panel, "y")
    least_span(axes, "y", POINT)
    for panel in axes:
        from_zero(panel, drift_figures.LEAST_DRIFT)
    _numbers_said(figure, summary, divergence.keys(), narrow)
    place_labels(figure, texts)
    return figure


def _numbers_said(figure: Figure, summary: dict, drawn: Iterable[str], narrow: bool) -> None:
    """Which arm has which number, where points have no names."""
    if crowded(summary):
        arms = [arm["name"] for arm in summary["arms"] if arm["name"] in drawn]
        arm_legend(figure, summary, arms, narrow)


def _cross(axes: Axes, summary: dict, across: dict, along: dict) -> list[Label]:
    """Arms that both have: means with intervals both ways, and the seeds that both have."""
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


def benchmarks(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Every arm's difference on every task: tasks as rows, arms as panels."""
    rows = [r for r in summary["differences"] if r["benchmark"] and r["mean"] is not None]
    tasks = list(dict.fromkeys((r["group"], r["benchmark"]) for r in rows))
    arms = [a["name"] for a in summary["arms"] if any(r["arm"] == a["name"] for r in rows)]
    # A decoding of a single task is a figure of its own, `scores`: here it would be all blank rows.
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


def transfer(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """The index of every arm over its seeds in one mode, on a signed logarithmic axis."""
    mode = one_mode(summary["transfer"])
    rows = [r for r in summary["transfer"] if r["mode"] == mode]
    groups = list(dict.fromkeys(r["group"] for r in rows))
    panels = _panels(rows, summary["decodings"], groups)
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
        panel.set_title(_title(group, decoding))
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
    """The index over all seeds; an arrow where its interval leaves the axis or has no end."""
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


FIGURES: dict[str, Callable[[dict, bool], Figure | None]] = {
    "scores": scores,
    "frontier": frontier,
    "kl_frontier": kl_frontier,
    "benchmarks": benchmarks,
    "transfer": transfer,
    "kl": drift_figures.divergence,
    "kl_positions": kl_positions,
    "pca_shift": drift_figures.shift,
    "state_layers": state_figures.state_layers,
    "cka_maps": state_figures.cka_maps,
    "pca_maps": state_figures.pca_maps,
    "weight_layers": weight_figures.layers,
    "weight_directions": weight_figures.directions,
    "weight_overlap": weight_figures.overlap,
    "promoted": shifted_figures.promoted,
    "shift_places": shifted_figures.places,
    "rank_shift": shifted_figures.ranks,
    "cross_sampling": cross_figures.cross_sampling,
    "trajectories": trajectory_figures.trajectories,
    "matched": trajectory_figures.matched,
    "forgetting": trajectory_figures.forgetting,
    "training": drift_figures.training,
    "transfer_map": survey_figures.transfer_map,
    "fidelity": survey_figures.fidelity,
}
