"""The figures of shifted tokens, and one reply of every arm with its shifted tokens marked."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.report_tables import benchmark_label
from jaxreason.report.style import COLOURS, GREY, MARKERS, Look, from_zero, grid, looks, name_rows
from jaxreason.report.token_shifts import TENTHS, token_label
from jaxreason.report.wording import arm_labels, crowded, group_label, plain_number, significant

DRAWN = 12  # Tokens of an arm.
RANKS = 50  # Largest end of the axis of rank shifts, as in the paper's plots.
LEAST_RANKS = 5  # Smallest range that it shows.
PER = 10_000  # Reply tokens.
# Colour and mark of each class of tokens.
CLASSES = {
    "logical": (COLOURS[1], MARKERS[0], "logical structure"),
    "content": (COLOURS[0], MARKERS[1], "content"),
    "symbol": (GREY, MARKERS[2], "symbols"),
    None: (GREY, MARKERS[0], "token"),
}
# Nats from which on a shift is drawn stronger, and strongest; at most ln 2 = 0.69.
STRONG = (0.3, 0.5)


def promoted_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the tokens promoted most often in each arm, per 10,000 reply tokens."""
    arms = [arm for arm in (summary["shifted"] or {"arms": []})["arms"] if arm["tokens"]]
    if not arms:
        return None
    labels, look = arm_labels(summary), looks(summary)
    rows = max(min(DRAWN, len(arm["tokens"])) for arm in arms)
    figure, axes = grid(len(arms), 4, 0.9 + 0.17 * rows, narrow)
    for panel, arm in zip(axes, arms, strict=True):
        tokens = arm["tokens"][:DRAWN]
        for y, token in enumerate(tokens):
            colour, marker, _ = CLASSES[token["class"]]
            x = PER * token["shifted"] / arm["num_tokens"]
            panel.plot([0, x], [y, y], color=colour, linewidth=1, alpha=0.5)
            panel.plot(x, y, marker, color=colour, markersize=4.5)
        colours = [CLASSES[token["class"]][0] for token in tokens]
        places = [*range(len(tokens))]
        name_rows(panel, places, [_drawable(token_label(token)) for token in tokens], colours)
        panel.set_ylim(rows - 0.3, -0.7)
        from_zero(panel, 0)
        share = (
            f"{significant(100 * arm['num_shifted'] / arm['num_tokens'])}\u2009% of tokens shifted"
        )
        title = f"{labels[arm['arm']]}\n{share}"
        panel.set_title(title, color=look[arm["arm"]].colour, fontsize=8.5)
        panel.set_xlabel(f"times in {PER:,} tokens")
    _class_legend(axes[0], {t["class"] for arm in arms for t in arm["tokens"][:DRAWN]})
    return figure


def _drawable(text: str) -> str:
    """Returns a token's text for a panel: dollar signs do not start a formula, and long tokens are cut."""
    short = text if len(text) <= 16 else text[:14] + "…”"
    return short.replace("$", r"\$")


def _class_legend(axes: Axes, classes: set) -> None:
    known = [CLASSES[name] for name in CLASSES if name in classes]
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4.5, label=label)
        for colour, marker, label in known
    ]
    axes.legend(handles=handles, loc="lower right", frameon=False, fontsize=7, handletextpad=0.1)


def shift_places_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the share of shifted tokens by tenth of the reply, one line per arm, one panel per group."""
    rows = (summary["shifted"] or {"rows": []})["rows"]
    rows = [row for row in rows if row["name"].startswith("shifted.tenth_")]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    if not groups:
        return None
    figure, axes = grid(len(groups), 3, 2.6, narrow)
    labels, look, many = arm_labels(summary), looks(summary), crowded(summary)
    for panel, group in zip(axes, groups, strict=True):
        for arm in (arm["arm"] for arm in summary["shifted"]["arms"]):
            members = [row for row in rows if (row["arm"], row["group"]) == (arm, group)]
            _line(panel, {_tenth(row): row for row in members}, look[arm], labels[arm], many)
        panel.set_ylim(bottom=0)
        panel.set_xticks([0, 50, 100])
        panel.set_title(group_label(group))
        panel.set_xlabel("place in the reply (%)")
        panel.set_ylabel("shifted tokens (%)")
    if not many:  # If there are many, the page names their colours.
        axes[0].legend(frameon=False, fontsize=7, labelcolor="linecolor", handlelength=1.2)
    return figure


def _tenth(row: dict) -> int:
    return int(row["name"].rsplit("_", 1)[1])


def _line(axes: Axes, found: dict[int, dict], look: Look, label: str, many: bool) -> None:
    """Draws means, and the band of their intervals unless there are too many bands to distinguish."""
    tenths = [n for n in range(1, TENTHS + 1) if n in found]
    across = [100 * (n - 0.5) / TENTHS for n in tenths]
    ends = [[100 * found[n][end] for n in tenths] for end in ("low", "high")]
    if not many:
        axes.fill_between(across, *ends, color=look.colour, alpha=0.12, linewidth=0)
    means = [100 * found[n]["mean"] for n in tenths]
    style = {"markersize": 3.5, "linewidth": 1.2, "color": look.colour}
    axes.plot(across, means, marker=look.marker, label=label, **style)


def rank_shift_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the rank shift of written tokens against their position, one panel per arm; larger values at the edge."""
    arms = [arm for arm in (summary["shifted"] or {"arms": []})["arms"] if arm["points"]]
    if not arms:
        return None
    labels, look = arm_labels(summary), looks(summary)
    figure, axes = grid(len(arms), 4, 2.0, narrow, sharex=True, sharey=True)
    largest = max(abs(base - tuned) for arm in arms for _, base, tuned in arm["points"])
    for number, (panel, arm) in enumerate(zip(axes, arms, strict=True)):
        shifts = [(position, abs(base - tuned)) for position, base, tuned in arm["points"]]
        inside = [point for point in shifts if point[1] <= RANKS]
        beyond = [(position, RANKS) for position, shift in shifts if shift > RANKS]
        style = {"color": look[arm["arm"]].colour, "linestyle": "", "alpha": 0.6, "clip_on": False}
        for points, marker in ((inside, "."), (beyond, "^")):
            if points:
                panel.plot(*zip(*points, strict=True), marker=marker, markersize=3.5, **style)
        moved = 100 * arm["num_rank_changed"] / arm["num_tokens"]
        panel.set_title(f"{labels[arm['arm']]}\n{moved:.1f}\u2009% of ranks moved", fontsize=8)
        panel.set_ylim(0, min(RANKS, max(LEAST_RANKS, largest)))
        panel.set_xlim(left=0)
        panel.tick_params(labelbottom=True, labelleft=narrow or number % 4 == 0)
        panel.set_xlabel("position in the reply")
        panel.set_ylabel("rank shift" if narrow or number % 4 == 0 else "")
    return figure


def shifted_view(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns for each view its title, the parts of its text, and the whole as markdown.

    A part is plain text, or a token with a `level`: 0 for a different first choice that is a near tie, 1 to 3 for a
    shift or for a large divergence alone.
    """
    labels, found = arm_labels(summary), summary["shifted"]
    return [_view(summary, labels, view) for view in (found["views"] if found else ())]


def _view(summary: dict, labels: dict[str, str], view: dict) -> dict[str, Any]:
    marks = {mark["at"]: mark for mark in view["marks"]}
    parts: list[dict[str, Any]] = []
    for at, text in enumerate(view["texts"]):
        if at in marks:
            parts.append(_mark(text, view["js"][at], marks[at], summary["shifted"]["threshold"]))
        elif parts and "level" not in parts[-1]:
            parts[-1]["text"] += text
        else:
            parts.append({"text": text})
    shown = len(view["texts"])
    cut = f"; the first {shown} are shown" if shown < view["num_tokens"] else ""
    return {
        "title": f"{labels[view['arm']]}, {benchmark_label(summary, view['benchmark'])}",
        "about": f"seed {view['seed']}, question {view['id']}: {view['num_shifted']} of {view['num_tokens']} tokens "
        f"shifted{cut}",
        "parts": parts,
        "plain": _plain(parts),
    }


def _plain(parts: list[dict]) -> str:
    """Returns the text with its shifts in brackets and one line for each, as an indented block of markdown."""
    text = "".join(f"⟦{p['text']}⟧" if p.get("shifted") else p["text"] for p in parts)
    said = [
        f"“{one_line(base['text'])}” ({base['base']} → {base['tuned']}) to "
        f"“{one_line(tuned['text'])}” ({tuned['base']} → {tuned['tuned']})"
        for base, tuned in ((p["base"], p["tuned"]) for p in parts if p.get("shifted"))
    ]
    return "\n".join(f"    {line}" for line in [*text.splitlines(), "", *said])


def one_line(text: str) -> str:
    """Returns a text without the line break after its sign."""
    return text.replace("\n", "")


def _mark(text: str, js: float, mark: dict, threshold: float) -> dict[str, Any]:
    level = 0 if js < threshold else 1 + sum(js >= edge for edge in STRONG)
    return {
        "text": visible(text),
        "level": level,
        "shifted": mark["shifted"],
        "js": plain_number(js, 3),
        "base": _choice(mark["base"]),
        "tuned": _choice(mark["tuned"]),
        "ranks": mark["ranks"],
    }


def _choice(choice: dict) -> dict[str, str]:
    base, tuned = (f"{100 * p:.3g}" for p in choice["probabilities"])
    return {"text": visible(choice["text"]) or "∅", "base": base, "tuned": tuned}


def visible(text: str) -> str:
    """Returns a text with a sign before every line break, since a marked one would otherwise be invisible."""
    return text.replace("\n", "↵\n")
