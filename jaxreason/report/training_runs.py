"""The training runs: their arms, their curves, and whether their questions are also a benchmark's."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxreason.report.report_tables import Cell, Table, TableRow
from jaxreason.report.study_reader import Reader, Study, read_run_metrics
from jaxreason.report.style import grid, least_span, looks, smooth, true_minus
from jaxreason.report.wording import arm_labels, join_words
from jaxreason.results.training_files import DECONTAMINATION_SHAPE, decontamination_path

CURVE_LABELS = {
    "loss": "loss",
    "reward": "mean reward",
    "length": "mean reply length (tokens)",
}
LEAST_CURVE = 1e-6  # likewise
SMOOTHED = 0.06  # Share of the steps that a running mean covers.
# Curves that are drawn from metrics.jsonl: curve -> its name there.
CURVES = {"loss": "loss", "reward": "reward", "length": "response_tokens"}
# A longer curve is shown as means over equal numbers of steps.
CURVE_POINTS = 200


def training_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws training curves by method: one line per seed in the arm's colour, with running means."""
    method = {arm["name"]: arm["method"] for arm in summary["arms"]}
    found: dict[tuple[str, str], list[dict]] = {}
    for row in summary["training"]:
        found.setdefault((method[row["arm"]], row["curve"]), []).append(row)
    if not found:
        return None
    look = looks(summary)
    figure, axes = grid(len(found), 4, 2.6, narrow)
    for panel, ((name, curve), members) in zip(axes, found.items(), strict=True):
        for row in members:
            steps, values = zip(*row["points"], strict=True)
            colour = look[row["arm"]].colour
            panel.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
            panel.plot(steps, smooth(values, SMOOTHED), color=colour, linewidth=1.4)
        _curve_legend(panel, summary, list(dict.fromkeys(row["arm"] for row in members)))
        panel.set_title(f"{name.upper()}: {CURVE_LABELS[curve]}")
        panel.set_xlabel("step")
        true_minus(panel, "x", "y")
    least_span(axes, "x", 1.0)
    least_span(axes, "y", LEAST_CURVE)
    return figure


def _curve_legend(axes: Axes, summary: dict, arms: list[str]) -> None:
    labels, look = arm_labels(summary), looks(summary)
    handles = [Line2D([], [], color=look[arm].colour, label=labels[arm]) for arm in arms]
    style = {"frameon": False, "fontsize": 7.5, "labelcolor": "linecolor", "handlelength": 1.2}
    axes.legend(handles=handles, loc="best", **style)


def training_rows(reader: Reader, study: Study) -> list[dict]:
    """Returns the curves of every run: [step, value], reduced to at most CURVE_POINTS."""
    rows = []
    for arm, seed in study.runs():
        lines = read_run_metrics(reader, arm, seed)
        for curve, name in CURVES.items():
            points = _curve([line for line in lines if name in line], name)
            if points:
                where = {"arm": arm.name, "seed": seed, "curve": curve}
                steps = max(line["step"] for line in lines)
                rows.append(where | {"num_steps": steps, "points": points})
    return rows


def _curve(lines: list[dict], name: str) -> list[list[float]]:
    points = [(line["step"], line[name]) for line in lines if np.isfinite(line[name])]
    parts = np.array_split(np.array(points, float), min(len(points), CURVE_POINTS) or 1)
    means = [part.mean(0) for part in parts if len(part)]
    return [[round(float(step), 2), float(value)] for step, value in means]


def question_rows(reader: Reader, study: Study) -> list[dict[str, Any]]:
    """Returns for every trained run with the file the number of questions compared and left out.

    Raises:
      UserError: a file is broken.
    """
    rows = []
    for arm, seed in study.runs():
        path = str(decontamination_path(arm.folder(seed)))
        found = reader.object(path, DECONTAMINATION_SHAPE)
        if found is not None:
            rows.append({"arm": arm.name, "label": arm.label, "seed": seed} | _question_row(found))
    return rows


def _question_row(found: dict[str, Any]) -> dict[str, Any]:
    said = {name: found[name] for name in ("enabled", "questions", "kept", "alike")}
    counts = {name: _by_benchmark(found[name]) for name in ("removed", "found_later")}
    return said | counts | {"unread": sorted(found["unread"])}


def _by_benchmark(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for of_dataset in counts.values():
        for benchmark, count in of_dataset.items():
            total[benchmark] = total.get(benchmark, 0) + count
    return total


def questions_said(summary: dict[str, Any]) -> list[str]:
    """Returns a sentence for each arm whose runs have a record; all its seeds have the same data and record."""
    sentences = [_sentence(row, summary["labels"]) for row in _of_arms(summary)]
    return list(dict.fromkeys(sentences))


def questions_limits(summary: dict[str, Any]) -> list[str]:
    """Returns the limits of a study whose questions were not compared with all benchmarks."""
    said = []
    off = [row["label"] for row in _of_arms(summary) if not row["enabled"]]
    if off:
        said.append(
            f"{join_words(off)}: the recipe turned the comparison of training questions with the benchmarks "
            "off, so these models may have been trained on what they are asked."
        )
    for row in _of_arms(summary):
        if row["found_later"]:
            counts = _listed(row["found_later"], summary["labels"])
            said.append(
                f"{row['label']} was trained before these benchmarks came to the study, and learned from questions "
                f"that they ask: {counts}."
            )
    unread = dict.fromkeys(name for row in _of_arms(summary) for name in row["unread"])
    if unread:
        names = join_words([summary["labels"].get(name, name) for name in unread])
        said.append(
            f"Training questions were not compared with those of {names}, which could not be read."
        )
    return said


def _of_arms(summary: dict[str, Any]) -> list[dict[str, Any]]:
    rows = {row["arm"]: row for row in reversed(summary["training_questions"])}
    return list(reversed(rows.values()))


def _sentence(row: dict[str, Any], labels: dict[str, str]) -> str:
    if not row["enabled"]:
        return f"{row['label']}: not compared."
    detail = f" ({_listed(row['removed'], labels)})" if row["removed"] else ""
    number = row["questions"] - row["kept"]
    return f"{row['label']}: {number:,} of {row['questions']:,} questions left out{detail}."


def _listed(counts: dict[str, int], labels: dict[str, str]) -> str:
    return ", ".join(f"{count:,} of {labels.get(name, name)}" for name, count in counts.items())


def arm_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns the arms, how each was made, and what exists of each; with several bases, also each arm's base."""
    rows, labels = [], arm_labels(summary)
    several = len(summary["bases"]) > 1
    for arm in summary["arms"]:
        steps = [r["num_steps"] for r in summary["training"] if r["arm"] == arm["name"]]
        seeds = ", ".join(map(str, arm["seeds"]))
        after = f", after {labels[arm['after']]}" if arm["after"] else ""
        cells = (
            arm["method"] + after,
            seeds,
            f"{len(arm['seeds_evaluated'])} of {len(arm['seeds'])}",
        )
        cells += (f"{max(steps):,.0f}" if steps else "–",)
        cells += (labels[arm["base"]],) if several else ()
        rows.append(TableRow(arm["label"], tuple(map(Cell, cells))))
    columns = ("made by", "seeds", "evaluated", "steps", *(("compared with",) if several else ()))
    return [Table("The arms of the study.", columns, tuple(rows))]
