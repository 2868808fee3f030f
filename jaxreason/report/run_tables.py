"""Tables about the runs: the arms, their replies, and scorings beside the primary ones."""

from typing import Any

from jaxreason.report.tables import NONE, Cell, Row, Table, benchmark_label, caption, find
from jaxreason.report.wording import (
    THINKING,
    VARIANT_LABELS,
    arm_labels,
    decoding_label,
    group_label,
    plain,
)


def reply_tables(summary: dict[str, Any]) -> list[Table]:
    """A table a decoding: length of replies and what went wrong with them."""
    tables = []
    for decoding in summary["decodings"]:
        members = [r for r in summary["replies"] if r["decoding"] == decoding]
        groups = list(dict.fromkeys(r["group"] for r in members))
        rows = []
        for model, label in arm_labels(summary).items():
            found = [find(members, model=model, group=g) for g in groups]
            if any(found):
                rows.append(Row(label, tuple(cell for row in found for cell in _reply_cells(row))))
        if rows:
            text = (
                "Mean length of replies in tokens, and the share of them (%) that was cut at the "
                "limit, had no answer to extract, or could not be graded."
            )
            said = caption(decoding, text)
            spans = tuple((group_label(g), 4) for g in groups)
            columns = ("tokens", "cut", "no answer", "failed") * len(groups)
            tables.append(Table(said, columns, tuple(rows), spans))
    return tables


def _reply_cells(row: dict | None) -> list[Cell]:
    if row is None:
        return [NONE] * 4
    shares = (plain(100 * row[name]) for name in ("cut", "no_answer", "failed"))
    length = row["num_tokens"]
    return [NONE if length is None else Cell(plain(length)), *map(Cell, shares)]


def other_score_tables(summary: dict[str, Any]) -> list[Table]:
    """Scorings beside the primary ones, as the evaluations computed them."""
    labels, rows = arm_labels(summary), []
    members = summary["other_scores"]
    models = [model for model in labels if find(members, model=model)]
    for benchmark, decoding, metric in dict.fromkeys(
        (r["benchmark"], r["decoding"], r["metric"]) for r in members
    ):
        where = {"benchmark": benchmark, "decoding": decoding, "metric": metric}
        found = [find(members, model=model, **where) for model in models]
        cells = tuple(NONE if row is None else Cell(plain(row["mean"])) for row in found)
        rows.append(
            Row(f"{benchmark_label(summary, benchmark)}: {metric}", cells, decoding_label(decoding))
        )
    said = "Other scorings of the same replies, in points (mean over seeds)."
    rows = sorted(rows, key=lambda row: row.section)
    return [Table(said, tuple(labels[m] for m in models), tuple(rows))] if rows else []


def asked_tables(summary: dict[str, Any]) -> list[Table]:
    """How each model was asked: in which format, and with which setting of the template's thinking switch; and with
    which prompt and grader each task was measured.
    """
    labels = arm_labels(summary)
    models = [
        Row(labels[row["model"]], (Cell(row["prompt_format"]), Cell(THINKING[row["thinking"]])))
        for row in summary["asked"]
    ]
    tasks = [
        Row(
            VARIANT_LABELS[row["variant"]],
            (Cell(row["prompt"]), Cell(row["grader"])),
            benchmark_label(summary, row["benchmark"]),
        )
        for row in sorted(summary["ways"], key=lambda row: _place(summary, row["benchmark"]))
    ]
    found = [
        Table("How each model was asked.", ("prompt format", "thinking"), tuple(models)),
        Table("How each task was asked and graded.", ("prompt", "grader"), tuple(tasks)),
    ]
    return [table for table in found if table.rows]


def _place(summary: dict, benchmark: str) -> int:
    return [name for group in summary["groups"] for name in group["benchmarks"]].index(benchmark)


def arm_tables(summary: dict[str, Any]) -> list[Table]:
    """The arms, how each was made, and how much of each there is; of several bases, which it is compared with."""
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
        rows.append(Row(arm["label"], tuple(map(Cell, cells))))
    columns = ("made by", "seeds", "evaluated", "steps", *(("compared with",) if several else ()))
    return [Table("The arms of the study.", columns, tuple(rows))]
