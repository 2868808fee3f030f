"""Describes the outcome of a stage as text, from its files: at the end of a verb, and for `jaxreason show`."""

from collections.abc import Sequence
from typing import Any

from etils import epath

from jaxreason.results.distill_files import data_folder, distill_folder, read_yield
from jaxreason.results.drift_files import (
    ALL_CHOICES,
    drift_folder,
    drift_path,
    measured_drift,
    overlap_path,
    read_cross_results,
    read_drift,
    read_overlap,
    undefined_in,
)
from jaxreason.results.jsonl import grown_exists
from jaxreason.results.score_files import SCORES, read_scores
from jaxreason.results.study_files import read_trajectory, trajectory_path
from jaxreason.results.training_files import metrics_path, read_metrics

# The numbers of a line of metrics that are shown, in this order. A line need not have them all.
TOLD = ("reward", "loss", "entropy", "kl", "grad_norm", "mean_tokens")

# The KL shown for a step: the model whose replies are read, and the metric's name.
SHOWN_KL = "tuned", "kl_reverse"
YIELD_COLUMNS = (
    *("questions", "asked", "right", "kept", "too_long", "unfinished", "no_answer"),
    *("malformed", "not_gradable"),
)


def training(workdir: epath.Path) -> str:
    """Describes a training run: its metrics at the first and the last step, and where the model is."""
    lines = [f"{first} -> {last}" for first, last in [_ends(workdir)] if first]
    if (workdir / "model").exists():
        lines.append(f"model: {workdir / 'model'}")
    return "\n".join(lines) or f"{workdir}: no step has been made yet."


def _ends(workdir: epath.Path) -> tuple[str, str]:
    path = metrics_path(workdir)
    rows = read_metrics(path) if grown_exists(path) else []
    return (_step(rows[0]), _step(rows[-1])) if rows else ("", "")


def _step(row: dict[str, Any]) -> str:
    parts = [f"{name} {row[name]:.4g}" for name in TOLD if isinstance(row.get(name), (int, float))]
    return f"step {row['step']}: {', '.join(parts)}"


def distillation(workdir: epath.Path) -> str:
    """Describes what a distillation kept.

    For each pass over the questions there is a table with a row for all of them, and one for each source,
    difficulty and pass rate.
    """
    folder = distill_folder(workdir)
    value, lines = read_yield(folder), []
    for name, found in value["passes"].items():
        rows = [["all", "", *_yield_cells(found["all"])]]
        for by in ("source", "difficulty", "pass_rate"):
            for part, counts in found.get(f"by_{by}", {}).items():
                rows.append([by.replace("_", " "), part, *_yield_cells(counts)])
        heads = [column.replace("_", " ") for column in YIELD_COLUMNS]
        lines += [f"{name}:", in_columns([["by", "", *heads], *rows])]
        for column, lengths in found["all"]["kept_tokens"].items():
            told = ", ".join(f"{key} {tokens:,.0f}" for key, tokens in lengths.items())
            lines.append(f"tokens of {column} with its question: {told}")
    return "\n".join([*lines, f"{value['rows']} rows: {data_folder(folder)}/*.jsonl"])


def _yield_cells(counts: dict[str, Any]) -> list[str]:
    return [str(counts[name]) for name in YIELD_COLUMNS]


def score_table(folder: epath.Path) -> str:
    """A table with a row for each benchmark and decoding: the primary score and its interval, in percent.

    Below them stand the means of the groups.
    """
    measured_rows, means, confidence = read_scores(folder)
    head = [
        "benchmark",
        "decoding",
        "variant",
        "metric",
        "score",
        f"{100 * confidence:g}% interval",
    ]
    rows = [
        [
            row["label"],
            row["decoding"],
            row["variant"],
            row["metric"],
            *_interval(row, 100),
            str(row["n"]),
            _errors(row),
        ]
        for row in measured_rows
        if row["primary"]
    ]
    groups = [
        [
            f"mean of {row['group']}",
            row["decoding"],
            row["variant"],
            "",
            *_interval(row, 100),
            str(row["n"]),
            "",
        ]
        for row in means
    ]
    text = in_columns([[*head, "questions", ""], *rows, *groups])
    return f"{text}\nscores: {folder / SCORES}"  # fmt: skip


def trajectory(folder: epath.Path) -> str:
    """A table with a row for each step of a followed run.

    A row has the group means with their intervals, the index of each mode, and KL(step || base) on the
    step's own replies. The scores are those of the variant and decoding by which the best step is chosen;
    the file has the others too.
    """
    value = read_trajectory(folder)
    rows = [_cells(row, value["variant"], value["decoding"]) for row in value["steps"]]
    # The base's row has no index, so a longer row gives the order of the columns.
    longest_first = sorted(rows, key=len, reverse=True)
    names = list(dict.fromkeys(name for row in longest_first for name in row))
    text = [in_columns([names, *([row.get(name, "") for name in names] for row in rows)])]
    reasons = (r["undefined"] for step in value["steps"] for r in step["index"])
    text += [f"undefined: {reason}" for reason in dict.fromkeys(reasons) if reason]
    if best := value["best"]:
        of = f"{best['name']} ({best['variant']}, {best['decoding']})"
        text.append(f"best {of}: {100 * best['mean']:.1f} at step {best['step']}")
    text += [f"step {row['step']} is left out: {row['why']}" for row in value["missed"]]
    text += [] if value.get("complete") else ["not complete: the same command continues it"]
    return "\n".join([*text, f"trajectory: {trajectory_path(folder)}"])


def _cells(step: dict[str, Any], variant: str, decoding: str) -> dict[str, str]:
    """Returns the texts of a step's row, column -> text."""
    cells = {"step": str(step["step"])}
    for row in step["groups"]:
        if (row["variant"], row["decoding"]) == (variant, decoding):
            score, ends = _interval(row, 100)
            cells[row["group"]] = f"{score} ({ends})" if ends else score
    for row in (r for r in step["index"] if r["decoding"] == decoding):
        ti = "undefined" if row["ti"] is None else f"{row['ti']:.1f}"
        cells[f"TI {row['group']} {row['mode']}"] = ti
    for row in step["drift"]:
        if (row["benchmark"], row["source"], row["name"]) == (None, *SHOWN_KL):
            cells[f"KL {row['group']}"] = f"{row['value']:.4g}"
    return cells


def _errors(row: dict[str, Any]) -> str:
    return f"{row['errors']} samples could not be graded" if row["errors"] else ""


def _interval(row: dict[str, Any], scale: float) -> tuple[str, str]:
    value, low, high = (row[name] for name in ("mean", "low", "high"))
    if value is None:
        return "-", ""
    ends = "" if low is None or high is None else f"{low * scale:.1f} to {high * scale:.1f}"
    return f"{value * scale:.1f}", ends


def drift(workdir: epath.Path) -> str:
    """A table with a row for each drift metric, group and text source. Weight metrics have no groups."""
    rows, missing = [], []
    for value in measured_drift(workdir):
        for unit, why in undefined_in(value).items():
            missing.append(f"{value['metric']}{unit and f' of {unit}'} is undefined: {why}")
        for row in value["groups"] or value["rows"]:
            where = [str(row.get(name) or "") for name in ("group", "source")]
            ends = f"{row['low']:.4g} to {row['high']:.4g}" if row.get("low") is not None else ""
            rows.append([value["metric"], row["name"], *where, f"{row['value']:.4g}", ends])
    if not rows and not missing:
        return f"{drift_folder(workdir)}: nothing has been measured yet."
    head = ["metric", "", "group", "replies of", "value", "interval"]
    table = [in_columns([head, *rows])] if rows else []
    return "\n".join([*table, *missing, f"files: {drift_folder(workdir)}"])


_KIND_COLUMNS = {
    "changed_share": "changed",
    "relative_l2": "|update|/|base|",
    "rank_share": "effective rank",
    "top_1": "energy in first 1 %",
    "overlap_left": "overlap, left",
    "chance_left": "by chance",
    "overlap_right": "overlap, right",
    "chance_right": "by chance",
    "spectral_drift": "spectral drift",
}


def weights(workdir: epath.Path) -> str:
    """A table with a row for each kind of parameter.

    It shows how much changed, and how the update overlaps with the base's leading singular directions.
    """
    value = read_drift(workdir, "weights")
    if value is None or "whole" not in value["details"]:
        return f"{drift_folder(workdir)}: weights have not been compared yet."
    found = value["details"]
    rows = [("all", found["whole"]), *found["by_kind"].items()]
    cells = [
        [kind, *(f"{row[name]:.4g}" if name in row else "-" for name in _KIND_COLUMNS)]
        for kind, row in rows
    ]
    table = in_columns([["", *_KIND_COLUMNS.values()], *cells])
    return f"{value['tuned']}\n{table}\nweights: {drift_path(workdir, 'weights')}"


def overlaps(workdir: epath.Path) -> str:
    """A table with a row for each two models of one base: how far they changed the same parameters."""
    value = read_overlap(workdir)
    if value is None:
        return f"{workdir}: no two models of one base, so no overlap."
    rows = []
    for base in value["bases"]:
        names = [member_name(member) for member in base["members"]]
        for pair in base["pairs"]:
            numbers = (pair[n] for n in ("jaccard", "jaccard_chance_by_tensor", "cosine"))
            shown = ["-" if x is None else f"{x:.4g}" for x in numbers]
            rows.append([names[pair["first"]], names[pair["second"]], *shown])
    table = in_columns([["changed by", "and by", "Jaccard", "by chance", "cosine"], *rows])
    return f"{table}\noverlap: {overlap_path(workdir)}"


def member_name(member: dict[str, Any]) -> str:
    """Returns an arm's name, followed by its seed if it has one."""
    seed = member["seed"]
    return member["arm"] if seed is None else f"{member['arm']} seed {seed}"


def cross_sampling(workdir: epath.Path) -> str:
    """A table with a row for each leading model and budget."""
    rows = []
    for value in read_cross_results(workdir):
        for row in value["rows"]:
            budget = ALL_CHOICES if row["budget"] is None else str(row["budget"])
            ends = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
            score = "-" if row["mean"] is None else f"{row['mean']:.3f}"
            taken = f"{row['taken']:.1f}"
            rows.append([value["benchmark"], row["leads"], budget, taken, score, ends])
    heads = ["benchmark", "leads", "budget", "taken", "score", "interval"]
    return in_columns([heads, *rows])


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Aligns rows of cells in columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
