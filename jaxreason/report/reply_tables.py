"""Rows and tables about how models were asked and about the form of their replies."""

from typing import Any

import numpy as np

from jaxreason.report.report_tables import (
    NONE,
    Cell,
    Table,
    TableRow,
    benchmark_label,
    decoding_caption,
    find,
)
from jaxreason.report.study_reader import Evaluation, Study
from jaxreason.report.wording import (
    THINKING,
    VARIANT_LABELS,
    arm_labels,
    decoding_label,
    group_label,
    plain_number,
)


def first_base(study: Study, evaluations: dict) -> Evaluation | None:
    """Returns the first evaluated base: all models are asked the same questions."""
    names = [base.name for base in study.bases if base.name in evaluations]
    return evaluations[names[0]] if names else None


def reply_rows(study: Study, evaluations: dict) -> list[dict]:
    """Returns the length of replies, and the shares that were cut, had no answer to extract, or failed.

    They are means over benchmarks.
    """
    rows = []
    for decoding in study.decodings:
        for group in study.group_names():
            for model, found in _by_model(study, evaluations).items():
                parts = [
                    _describe_replies(evaluation.samples[b, decoding])
                    for evaluation in found
                    for b in study.benchmarks(group)
                    if evaluation.samples.get((b, decoding))
                ]
                if parts:
                    means = {name: _mean([part[name] for part in parts]) for name in parts[0]}
                    rows.append({"decoding": decoding, "group": group, "model": model, **means})
    return rows


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else float(np.mean(values))


def _describe_replies(samples: list[dict]) -> dict[str, float | None]:
    return {
        "num_tokens": _mean_length(samples),
        "cut": float(np.mean([s["finish_reason"] == "length" for s in samples])),
        "no_answer": float(np.mean([s["extracted"] is None for s in samples])),
        "failed": float(np.mean([s["error"] is not None for s in samples])),
    }


def _mean_length(samples: list[dict]) -> float | None:
    """Returns the mean length in tokens; None if a reply came only as text."""
    lengths = [sample["num_tokens"] for sample in samples]
    return None if None in lengths else float(np.mean(lengths))


def asked_rows(study: Study, evaluations: dict) -> list[dict]:
    """Returns how each model was asked."""
    return [
        {"model": model, **members[0].asked}
        for model, members in _by_model(study, evaluations).items()
        if members[0].asked
    ]


def way_rows(study: Study, evaluations: dict) -> list[dict]:
    """Returns the prompt and the grader of every variant of every benchmark, as the base was measured."""
    base = first_base(study, evaluations)
    rows = base.all_rows if base else []
    names = ("benchmark", "variant", "prompt", "grader")
    found = {tuple(row[name] for name in names): None for row in rows}
    return [dict(zip(names, way, strict=True)) for way in found if way[0] in study.groups]


def _by_model(study: Study, evaluations: dict) -> dict[str, list[Evaluation]]:
    """Returns the evaluations of every base and of every arm's seeds."""
    found = {b.name: [evaluations[b.name]] for b in study.bases if b.name in evaluations}
    for arm, seed in study.runs():
        if (arm.name, seed) in evaluations:
            found.setdefault(arm.name, []).append(evaluations[arm.name, seed])
    return found


def other_score_rows(study: Study, evaluations: dict) -> list[dict]:
    """Returns scorings other than a benchmark's primary one, as in scores.json; in points, means over seeds."""
    found: dict[tuple, list[float]] = {}
    for model, members in _by_model(study, evaluations).items():
        for row in (row for evaluation in members for row in evaluation.rows):
            if not row["primary"] and row["mean"] is not None:
                key = (row["benchmark"], row["decoding"], row["metric"], model)
                found.setdefault(key, []).append(100 * row["mean"])
    names = ("benchmark", "decoding", "metric", "model")
    return [
        dict(zip(names, key, strict=True)) | {"mean": float(np.mean(v))} for key, v in found.items()
    ]


def reply_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: length of replies, and their problems."""
    tables = []
    for decoding in summary["decodings"]:
        members = [r for r in summary["replies"] if r["decoding"] == decoding]
        groups = list(dict.fromkeys(r["group"] for r in members))
        rows = []
        for model, label in arm_labels(summary).items():
            found = [find(members, model=model, group=g) for g in groups]
            if any(found):
                rows.append(
                    TableRow(label, tuple(cell for row in found for cell in _reply_cells(row)))
                )
        if rows:
            text = (
                "Mean length of replies in tokens, and the share of them (%) that was cut at the "
                "limit, had no answer to extract, or could not be graded."
            )
            said = decoding_caption(decoding, text)
            spans = tuple((group_label(g), 4) for g in groups)
            columns = ("tokens", "cut", "no answer", "failed") * len(groups)
            tables.append(Table(said, columns, tuple(rows), spans))
    return tables


def _reply_cells(row: dict | None) -> list[Cell]:
    if row is None:
        return [NONE] * 4
    shares = (plain_number(100 * row[name]) for name in ("cut", "no_answer", "failed"))
    length = row["num_tokens"]
    return [NONE if length is None else Cell(plain_number(length)), *map(Cell, shares)]


def other_score_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns the scorings beside the primary ones, as the evaluations computed them."""
    labels, rows = arm_labels(summary), []
    members = summary["other_scores"]
    models = [model for model in labels if find(members, model=model)]
    for benchmark, decoding, metric in dict.fromkeys(
        (r["benchmark"], r["decoding"], r["metric"]) for r in members
    ):
        where = {"benchmark": benchmark, "decoding": decoding, "metric": metric}
        found = [find(members, model=model, **where) for model in models]
        cells = tuple(NONE if row is None else Cell(plain_number(row["mean"])) for row in found)
        rows.append(
            TableRow(
                f"{benchmark_label(summary, benchmark)}: {metric}", cells, decoding_label(decoding)
            )
        )
    said = "Other scorings of the same replies, in points (mean over seeds)."
    rows = sorted(rows, key=lambda row: row.section)
    return [Table(said, tuple(labels[m] for m in models), tuple(rows))] if rows else []


def asked_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns how each model was asked, and with which prompt and grader each task was measured.

    How a model was asked is the format and the setting of the template's thinking switch.
    """
    labels = arm_labels(summary)
    models = [
        TableRow(
            labels[row["model"]], (Cell(row["prompt_format"]), Cell(THINKING[row["thinking"]]))
        )
        for row in summary["asked"]
    ]
    tasks = [
        TableRow(
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
