"""Drift of every arm by benchmark group: rows of summary.json, tables, and the figures of KL and PCA shift."""

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, find
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Arm, Reader, Study
from jaxreason.report.style import draw_row, from_zero, grid, looks, name_rows
from jaxreason.report.wording import arm_labels, decimals, group_label, plain_number
from jaxreason.results.drift_files import metric_names, read_drift, undefined_in
from jaxreason.results.groups import TRAINING
from jaxreason.results.statistics import percentiles, resampled_seeds

MetricFiles = dict[tuple[str, int, str], dict[str, Any]]  # By arm, seed and metric.
NO_DRIFT = 1e-9  # A smaller distance is rounding noise.
LEAST_DRIFT = 1e-3  # The smallest range that an axis shows.
MOST_RATIO = 1e6  # Of the ends of a logarithmic axis.


class Quantity(NamedTuple):
    """A number of a metric file that the report shows."""

    metric: str
    name: str
    source: str  # The model whose replies were read.
    label: str
    unit: str = ""

    @property
    def title(self) -> str:
        """The label with the unit, if it has one."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


QUANTITIES = (
    Quantity(
        "token_kl", "kl_forward", "base", "KL(base ‖ tuned), base's replies", "nats per token"
    ),
    Quantity(
        "token_kl", "kl_reverse", "tuned", "KL(tuned ‖ base), tuned replies", "nats per token"
    ),
    Quantity("token_kl", "js", "base", "Jensen–Shannon, base's replies", "nats per token"),
    Quantity("token_kl", "rank_shift", "tuned", "Rank shift, tuned replies", "ranks"),
    Quantity("token_kl", "shifted_share", "tuned", "Tokens with another first choice", "share"),
    Quantity("pca_shift", "layer_shift.reply", "base", "PCA shift, mean of layers", "state units"),
    Quantity("pca_shift", "shift.reply", "base", "PCA shift, layers averaged first", "state units"),
    Quantity(
        "pca_shift", "scaled_shift.reply", "base", "PCA shift in spreads of base texts", "spreads"
    ),
    Quantity("cosine", "final_distance", "base", "Cosine distance, final states", "1 − cos"),
    Quantity("cka", "distance.reply", "base", "CKA distance, mean of layers", "1 − CKA"),
    Quantity("shifted_tokens", "shifted", "tuned", "Shifted tokens, tuned replies", "share"),
)

# Metrics of the package that other tables and figures show. What is in neither was added by the user.
SHOWN_ELSEWHERE = ("weights", "paper_pca_shift", "subspaces", "frechet", "procrustes", "sinks")
SHOWN = {quantity.metric for quantity in QUANTITIES} | set(SHOWN_ELSEWHERE)
REPLIES = {"base": "base's replies", "tuned": "tuned replies", "questions": "questions"}

HEADLINE_KL, REVERSE_KL = QUANTITIES[0], QUANTITIES[1]


HEADLINE_SHIFT, PAPER_SHIFT, SCALED_SHIFT = (q for q in QUANTITIES if q.metric == "pca_shift")


def rows_of(rows: list[dict], quantity: Quantity) -> list[dict]:
    """Returns the rows of one quantity."""
    wanted = (quantity.metric, quantity.name, quantity.source)
    return [row for row in rows if (row["metric"], row["name"], row["source"]) == wanted]


def read_metric_files(reader: Reader, study: Study, names: Iterable[str]) -> MetricFiles:
    """Returns the files of these metrics for each run that has them.

    Raises:
      UserError: a file is broken.
    """
    names = dict.fromkeys(names)
    return {
        (arm.name, seed, name): value
        for arm, seed in study.runs()
        for name in names
        if (value := read_drift(reader.folder / arm.folder(seed), name, reader)) is not None
    }


def read_drift_metrics(reader: Reader, study: Study) -> tuple[dict, list[str]]:
    """Returns metric files by (arm, seed, metric), and in words what is missing."""
    names = tuple(dict.fromkeys([*(quantity.metric for quantity in QUANTITIES), "weights"]))
    names += _added_names(reader, study)
    found = read_metric_files(reader, study, names)
    missing = _not_measured(study, found, names)
    missing += [
        f"{arm.label}: compared with its base by its scores alone, as the recipe asks."
        for arm in study.arms
        if not arm.drift
    ]
    return found, missing + _undefined(study, found)


def _added_names(reader: Reader, study: Study) -> tuple[str, ...]:
    folders = [reader.folder / arm.folder(seed) for arm, seed in study.runs()]
    return tuple(
        sorted({name for folder in folders for name in metric_names(folder, reader)} - SHOWN)
    )


def added_quantities(rows: Iterable[dict]) -> list[Quantity]:
    """Returns the numbers of metrics that a user added; a row has `metric`, `name` and `source`."""
    found = {(row["metric"], row["name"], row["source"]): None for row in rows}
    return [
        Quantity(*key, label=f"{key[0]}: {key[1]}, {REPLIES.get(key[2], key[2])}")
        for key in found
        if key[0] not in SHOWN
    ]


def drift_rows(study: Study, metrics: MetricFiles, how: Resampling) -> list[dict]:
    """Returns the rows of summary.json, of the package's quantities and of metrics that a user added."""
    measured = ({**row, "metric": m["metric"]} for m in metrics.values() for row in m["groups"])
    return quantity_rows(study, metrics, how, [*QUANTITIES, *added_quantities(measured)])


def _not_measured(study: Study, found: dict, names: tuple[str, ...]) -> list[str]:
    """Says which metrics were not measured: once if no arm has one, else by run."""
    runs = [(arm, seed) for arm, seed in study.runs() if arm.drift]
    there = {name for _, _, name in found}
    nowhere = [name for name in names if name not in there]
    missing = [f"Drift not measured in any arm ({', '.join(nowhere)})."] if nowhere and runs else []
    for arm, seed in runs:
        absent = [name for name in names if name in there and (arm.name, seed, name) not in found]
        if absent:
            missing.append(f"{arm.label}, seed {seed}: drift not measured ({', '.join(absent)}).")
    return missing


def _undefined(study: Study, metrics: dict) -> list[str]:
    """Says where a metric is undefined, and why: for an arm, or on a benchmark (once for all arms and metrics)."""
    labels = {arm.name: arm.label for arm in study.arms}
    whole: dict[tuple[str, str], list[str]] = {}
    of_units: dict[tuple[str, str], dict[str, None]] = {}
    for (arm, _, name), metric in metrics.items():
        for unit, reason in undefined_in(metric).items():
            if unit:
                of_units.setdefault((unit.rpartition(".")[0], reason), {})[name] = None
            else:
                whole.setdefault((labels[arm], reason), []).append(name)
    of_arms = [
        f"{label}: {', '.join(dict.fromkeys(names))} cannot be compared with the base: {reason}."
        for (label, reason), names in whole.items()
    ]
    found = [
        f"Undefined on {benchmark}: {', '.join(names)}: {reason}."
        for (benchmark, reason), names in of_units.items()
    ]
    return sorted(of_arms) + sorted(found)


def quantity_rows(
    study: Study, metrics: dict, how: Resampling, quantities: Iterable[Quantity]
) -> list[dict]:
    """Returns every quantity of every group and arm: mean over seeds, interval over texts and seeds, single seeds."""
    rows = []
    for quantity in quantities:
        for group in (*study.group_names(), TRAINING):
            for arm in study.arms:
                row = _quantity_row(quantity, group, arm, metrics, how)
                rows += [] if row is None else [row]
    return rows


def _quantity_row(
    quantity: Quantity, group: str, arm: Arm, metrics: dict, how: Resampling
) -> dict | None:
    seeds = {}
    for seed in arm.seeds:
        if (arm.name, seed, quantity.metric) in metrics:
            entries = metrics[arm.name, seed, quantity.metric]["groups"]
            match = [e for e in entries if _matches(e, quantity, group)]
            seeds |= {seed: match[0]} if match else {}
    if not seeds:
        return None
    draws = np.array([entry["draws"] for entry in seeds.values()]).T
    mean = float(np.mean([entry["value"] for entry in seeds.values()]))
    rng = np.random.default_rng((how.seed, zlib.crc32(arm.name.encode())))
    pooled = resampled_seeds(draws, rng)
    if min(entry["low"] for entry in seeds.values()) >= 0:
        pooled = np.maximum(pooled, 0)  # Stretching must not make a distance negative.
    each = [
        {"seed": s, "mean": e["value"], "low": e["low"], "high": e["high"]}
        for s, e in seeds.items()
    ]
    low, high = percentiles(pooled, how.confidence)
    where = {"metric": quantity.metric, "name": quantity.name, "source": quantity.source}
    return where | {
        "group": group,
        "arm": arm.name,
        "mean": mean,
        "low": low,
        "high": high,
        "seeds": each,
    }


def _matches(entry: dict, quantity: Quantity, group: str) -> bool:
    return (entry["group"], entry["source"], entry["name"]) == (
        group,
        quantity.source,
        quantity.name,
    )


def weight_rows(study: Study, metrics: dict) -> list[dict]:
    """Returns the weight drift of every arm: mean over seeds and each seed's own."""
    rows = []
    for name in ("relative_l2", "changed_share"):
        for arm in study.arms:
            each = [
                {"seed": seed, "mean": entry["value"]}
                for seed in arm.seeds
                if (arm.name, seed, "weights") in metrics
                for entry in metrics[arm.name, seed, "weights"]["rows"]
                if entry["name"] == name
            ]
            if each:
                mean = float(np.mean([entry["mean"] for entry in each]))
                rows.append({"name": name, "arm": arm.name, "mean": mean, "seeds": each})
    return rows


MAIN_QUANTITIES = (HEADLINE_KL, REVERSE_KL, HEADLINE_SHIFT, PAPER_SHIFT)


def drift_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns the drift that the figures show, for every arm by group, and the drift of the weights."""
    caption = "How far every arm moved from the base. A model compared with itself has 0."
    arms = _drifted(summary)
    found = summary["drift"]
    rows = [
        row
        for quantity in MAIN_QUANTITIES
        for row in quantity_table_rows(summary, found, quantity, arms)
    ]
    return _drift_table(summary, caption, arms, rows + _weight_table_rows(summary, arms))


def other_drift_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns the other measures of drift."""
    arms = _drifted(summary)
    found = summary["drift"]
    others = [quantity for quantity in QUANTITIES if quantity not in MAIN_QUANTITIES]
    others += added_quantities(found)
    rows = [
        row for quantity in others for row in quantity_table_rows(summary, found, quantity, arms)
    ]
    return _drift_table(summary, "Other measures of drift from the base.", arms, rows)


def _drifted(summary: dict) -> list[dict]:
    names = {row["arm"] for row in summary["drift"] + summary["weights"]}
    return [arm for arm in summary["arms"] if arm["name"] in names]


def _drift_table(
    summary: dict, caption: str, arms: list[dict], rows: list[TableRow]
) -> list[Table]:
    labels = arm_labels(summary)
    return [Table(caption, tuple(labels[arm["name"]] for arm in arms), tuple(rows))] if rows else []


def quantity_table_rows(
    summary: dict[str, Any], drift: list[dict], quantity: Quantity, arms: list[dict]
) -> list[TableRow]:
    """Returns a quantity of every group, with one cell per arm; groups without a row in `drift` are left out."""
    members = rows_of(drift, quantity)
    digits = decimals([row["mean"] for row in members])
    rows = []
    for group in (*(group["name"] for group in summary["groups"]), TRAINING):
        found = [find(members, arm=arm["name"], group=group) for arm in arms]
        if any(found):
            cells = tuple(_drift_cell(row, digits) for row in found)
            rows.append(TableRow(group_label(group), cells, quantity.title))
    return rows


def _drift_cell(row: dict | None, digits: int) -> Cell:
    if row is None:
        return NONE
    ends = f"{plain_number(row['low'], digits)} to {plain_number(row['high'], digits)}"
    return Cell(plain_number(row["mean"], digits), ends)


def _weight_table_rows(summary: dict, arms: list[dict]) -> list[TableRow]:
    names = {
        "relative_l2": "relative distance |Δw| / |w|",
        "changed_share": "share changed in bfloat16",
    }
    rows = []
    for name, label in names.items():
        found = [find(summary["weights"], name=name, arm=arm["name"]) for arm in arms]
        if any(found):
            digits = decimals([row["mean"] for row in found if row])
            cells = tuple(Cell(plain_number(row["mean"], digits)) if row else NONE for row in found)
            rows.append(TableRow(label, cells, "Weights"))
    return rows


def kl_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws KL by group, in both directions."""
    titles = {
        HEADLINE_KL: "KL(base ‖ tuned), base's replies",
        REVERSE_KL: "KL(tuned ‖ base), tuned replies",
    }
    return _by_group(summary, titles, narrow)


def pca_shift_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws the PCA shift by group, as the mean of the layers and in spreads of the base's texts."""
    titles = {
        HEADLINE_SHIFT: "PCA shift, mean of layers",
        SCALED_SHIFT: "PCA shift in spreads of the base's texts",
    }
    return _by_group(summary, titles, narrow)


def _by_group(summary: dict, titles: dict[Quantity, str], narrow: bool) -> Figure | None:
    found = {quantity: rows_of(summary["drift"], quantity) for quantity in titles}
    found = {quantity: rows for quantity, rows in found.items() if rows}
    if not found:
        return None
    rows = [row for members in found.values() for row in members]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    arms = [a["name"] for a in summary["arms"] if any(r["arm"] == a["name"] for r in rows)]
    height = 0.8 + 0.2 * len(groups) * (len(arms) + 1)
    figure, axes = grid(len(found), 2, height, narrow)
    for number, (panel, (quantity, members)) in enumerate(zip(axes, found.items(), strict=True)):
        _draw_groups(panel, summary, members, groups, arms)
        panel.tick_params(labelleft=narrow or number == 0)
        _log_if_positive(panel, members)
        panel.set_title(titles[quantity])
        panel.set_xlabel(quantity.unit)
    return figure


def _draw_groups(
    axes: Axes, summary: dict, rows: list[dict], groups: list[str], arms: list[str]
) -> None:
    """Draws arms as rows under the name of each group."""
    labels, look = arm_labels(summary), looks(summary)
    step = len(arms) + 1
    for number, group in enumerate(groups):
        where = axes.get_yaxis_transform()
        style = {"va": "center", "fontsize": 8, "fontweight": "bold"}
        axes.text(0.01, number * step, group_label(group), transform=where, **style)
        for row in (row for row in rows if row["group"] == group):
            y = number * step + 1 + arms.index(row["arm"])
            draw_row(axes, y, row, look[row["arm"]])
    places = [(n * step + 1 + i, arm) for n in range(len(groups)) for i, arm in enumerate(arms)]
    names, colours = zip(*((labels[arm], look[arm].colour) for _, arm in places), strict=True)
    name_rows(axes, [y for y, _ in places], list(names), list(colours))
    axes.set_ylim(top=-0.7)


def _log_if_positive(axes: Axes, rows: list[dict]) -> None:
    """Makes an axis logarithmic if every number allows it, since drift spans orders of magnitude."""
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    if low <= 0 or high < NO_DRIFT:
        from_zero(axes, LEAST_DRIFT)
        return
    low = max(low, high / MOST_RATIO)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.set_xlim(left=max(axes.get_xlim()[0], low / 2))
