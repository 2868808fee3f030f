"""The paper's numbers beside ours: rows, tables and the figure; `fidelity_causes` has reasons for differences."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxreason.report.fidelity_causes import (
    BENCHMARK_CAUSES,
    DRIFT_CAUSES,
    GROUP_NOT_STATED,
    MODEL_CAUSES,
    NONE_KNOWN,
    OTHER_SCALES,
    TRAINED_HERE,
    TWO_MODES,
    fewer,
    not_reproducible,
    robust_way,
)
from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, benchmark_label, find
from jaxreason.report.study_reader import Arm, Reader, Study
from jaxreason.report.style import FAINT, GREY, Look, bar, grid, looks, point, true_minus
from jaxreason.report.transfer_figures import INDEX_LINEAR
from jaxreason.report.transfer_tables import one_mode, pooled_rows
from jaxreason.report.wording import (
    MINUS,
    PAPER,
    arm_labels,
    decimals,
    decoding_label,
    group_label,
    plain_number,
    signed,
)
from jaxreason.results.drift_files import read_drift
from jaxreason.results.groups import MATH
from jaxreason.results.published import (
    KL,
    PCA_SHIFT,
    RANK_SHIFT,
    PublishedDrift,
    published_benchmarks,
    published_drifts,
    published_indices,
    published_models,
    published_scores,
)

SCORE, MEAN, INDEX = "score", "mean", "index"
KINDS = (SCORE, MEAN, INDEX, PCA_SHIFT, KL, RANK_SHIFT)
# Where our number is: file, name and source as in docs/drift.md.
OURS = {
    PCA_SHIFT: ("paper_pca_shift", "shift", "questions"),
    KL: ("token_kl", "paper_kl", "tuned"),
    RANK_SHIFT: ("token_kl", "paper_rank_shift", "tuned"),
}
LABELS = {
    SCORE: "Scores (points)",
    MEAN: "Group means (points)",
    INDEX: "Transferability index",
    PCA_SHIFT: "PCA shift (state units)",
    KL: "KL, the paper's way (nats per token)",
    RANK_SHIFT: "Rank shift (ranks)",
}


def fidelity_rows(reader: Reader, study: Study, summary: dict[str, Any]) -> list[dict]:
    """Returns published, ours, interval, difference and why they may differ; docs/fidelity.md describes the fields.

    Args:
      reader: of the study's folder.
      study: its study.json, whose arms say which models of the paper they are.
      summary: its scores, variants, index and ways of measuring.
    """
    rows: list[dict] = []
    known = {base.name: (base.published, True, "") for base in study.bases if base.published}
    for arm in study.arms:
        if arm.published:
            model = published_models()[arm.published]
            known[arm.name] = (model.scores, arm.method == "given", arm.published)
    for decoding in study.decodings:
        for name, (scores, given, model) in known.items():
            if scores:
                rows += _score_rows(study, summary, decoding, name, scores, given, model)
        for arm in (arm for arm in study.arms if arm.published in published_indices()):
            rows += _index_rows(study, summary, decoding, arm)
    for arm in (arm for arm in study.arms if arm.published):
        rows += _drift_rows(reader, arm)
    return rows


def _row(kind: str, model: str, where: str, value: float, ours: dict, why: list[str]) -> dict:
    """Returns a row; `ours` has mean, low and high, each of which may be None."""
    mean, low, high = (ours[name] for name in ("mean", "low", "high"))
    agrees = None if low is None or high is None else bool(low <= value <= high)
    return {
        "kind": kind,
        "model": model,
        "where": where,
        "published": value,
        "mean": mean,
        "low": low,
        "high": high,
        "difference": None if mean is None else mean - value,
        "agrees": agrees,
        "why": [] if agrees else why or [NONE_KNOWN],
    }


def _score_rows(
    study: Study, summary: dict, decoding: str, name: str, scores: str, given: bool, model: str
) -> Iterator[dict]:
    """Yields a row per benchmark, and per group if the report is in the paper's way and the whole group was asked."""
    values, here = published_scores()[scores], {"decoding": decoding, "model": name}
    about = [] if given else [TRAINED_HERE]
    more = [MODEL_CAUSES[model]] if model in MODEL_CAUSES else []
    found = {b: ours for b in study.groups if b in values and (ours := _ours(summary, here, b))}
    for benchmark, ours in found.items():
        why = about + more + _of_benchmark(benchmark, ours)
        table = published_benchmarks()[benchmark].source
        row = _row(SCORE, name, benchmark, values[benchmark], ours, why)
        yield row | {"decoding": decoding, "source": table, "num_items": ours["num_items"]}
    for group in study.group_names() if summary["variant"] == PAPER else ():
        members = [one.name for one in published_benchmarks().values() if one.group == group]
        whole = set(members) == set(study.benchmarks(group)) and set(members) <= found.keys()
        ours = find(summary["scores"], **here, group=group, benchmark=None)
        if whole and ours and ours["mean"] is not None:
            mean = float(np.mean([values[member] for member in members]))
            why = about + more + ["its benchmarks differ as their own rows say"]
            row = _row(MEAN, name, group, mean, ours, why)
            yield row | {"decoding": decoding, "source": "tables 9 to 11"}


def _ours(summary: dict, here: dict, benchmark: str) -> dict | None:
    """Returns a score in the paper's way if there is one, else in the report's; with the numbers of questions."""
    score = find(summary["scores"], **here, benchmark=benchmark)
    if score is None or score["mean"] is None:
        return None
    there = {(way["benchmark"], way["variant"]) for way in summary["ways"]}
    faithful = (benchmark, PAPER) in there
    other = find(summary["variants"], **here, benchmark=benchmark, variant=PAPER)
    ours = other if other is not None and other["mean"] is not None else score
    counts = {name: score[name] for name in ("num_items", "num_questions")}
    return {**ours, **counts, "faithful": faithful}


def _of_benchmark(benchmark: str, ours: dict) -> list[str]:
    known = published_benchmarks()[benchmark]
    asked = ours["num_questions"]
    why = [fewer(asked, known.questions)] if asked < known.questions else []
    why += [] if ours["faithful"] else [robust_way(benchmark)]
    return why + ([BENCHMARK_CAUSES[benchmark]] if benchmark in BENCHMARK_CAUSES else [])


def _index_rows(study: Study, summary: dict, decoding: str, arm: Arm) -> Iterator[dict]:
    """Yields a row for each group, in the mode that is nearest to the published one."""
    found = [r for r in pooled_rows(summary["transfer"]) if r["arm"] == arm.name]
    found = [row for row in found if row["decoding"] == decoding]
    modes = {row["mode"] for row in found}
    mode = "paper_scales" if "paper_scales" in modes else one_mode(found)
    index = published_indices()[arm.published]
    for group, value in index.values.items():
        row = find(found, mode=mode, group=group)
        if row is None:
            continue
        why = [not_reproducible(index.recomputed[group])] * (not index.follows(group))
        why += [TRAINED_HERE] * (arm.method != "given")
        why += [OTHER_SCALES] * (mode != "paper_scales")
        why += _incomplete(study, group)
        why += [f"ours is undefined: {row['undefined']}"] * (row["ti"] is None)
        why += ["the scores that it is made of differ as their own rows say"]
        ours = {"mean": row["ti"], "low": row["low"], "high": row["high"]}
        row = _row(INDEX, arm.name, group, value, ours, why)
        yield row | {"decoding": decoding, "source": "tables 1 and 5", "mode": mode}


def _incomplete(study: Study, group: str) -> list[str]:
    """Returns a sentence if math or the group does not have exactly the paper's benchmarks."""
    for name in (MATH, group):
        members = {one.name for one in published_benchmarks().values() if one.group == name}
        if members != set(study.benchmarks(name)):
            return ["its groups are not made of the paper's benchmarks, all of them and no others"]
    return []


def _drift_rows(reader: Reader, arm: Arm) -> Iterator[dict]:
    """Yields a row for each measured published distance: mean over seeds, with the widest ends of their intervals."""
    files: dict[tuple[int, str], dict | None] = {}
    for one in (one for one in published_drifts() if one.model == arm.published):
        metric, name, source = OURS[one.metric]
        of_group = one.where not in published_benchmarks()
        found = []
        for seed in arm.seeds:
            if (seed, metric) not in files:
                folder = reader.folder / arm.folder(seed)
                files[seed, metric] = read_drift(folder, metric, reader)
            held = files[seed, metric] or {"rows": [], "groups": []}
            rows, key = (held["groups"], "group") if of_group else (held["rows"], "benchmark")
            wanted = (one.where, name, source)
            found += [r for r in rows if (r[key], r["name"], r["source"]) == wanted]
        if found:
            ours = {
                "mean": float(np.mean([row["value"] for row in found])),
                "low": min(row["low"] for row in found),
                "high": max(row["high"] for row in found),
            }
            why = _of_drift(arm, one, of_group)
            row = _row(one.metric, arm.name, one.where, one.value, ours, why)
            yield row | {"decoding": None, "source": one.source}


def _of_drift(arm: Arm, one: PublishedDrift, of_group: bool) -> list[str]:
    why = [TRAINED_HERE] * (arm.method != "given")
    why += [GROUP_NOT_STATED] * of_group
    why += [TWO_MODES] * (published_models()[one.model].method == "vendor")
    return [*why, DRIFT_CAUSES[one.metric]]


def fidelity_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns for each kind of published number how many were measured, how many agree, and how far off others are."""
    rows = []
    for kind in KINDS:
        members = [row for row in summary["fidelity"] if row["kind"] == kind]
        known = [row for row in members if row["difference"] is not None]
        if known:
            judged = [row for row in known if row["agrees"] is not None]
            agree = sum(row["agrees"] for row in judged)
            sizes = [abs(row["difference"]) for row in known]
            digits = decimals([np.median(sizes)])
            furthest = known[int(np.argmax(sizes))]
            said = f"{_model(summary, furthest)}, {_where(summary, furthest)}"
            cells = (
                Cell(f"{len(known)}"),
                Cell(f"{agree} of {len(judged)}"),
                Cell(plain_number(float(np.median(sizes)), digits)),
                Cell(signed(furthest["difference"], digits), said),
            )
            rows.append(TableRow(LABELS[kind], cells))
    columns = ("measured here", "published value in our interval", "median distance", "furthest")
    text = "The paper's numbers (arXiv 2507.00432 v2) beside ours."
    return [Table(text, columns, tuple(rows))] if rows else []


def fidelity_detail_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per kind and decoding: published, ours with its interval, difference, why they may differ."""
    found: dict[tuple[str, str | None], list[dict]] = {}
    for row in summary["fidelity"]:
        found.setdefault((row["kind"], row["decoding"]), []).append(row)
    return [
        _table(summary, kind, decoding, found[kind, decoding])
        for kind in KINDS
        for decoding in dict.fromkeys(key[1] for key in found if key[0] == kind)
    ]


def _table(summary: dict, kind: str, decoding: str | None, members: list[dict]) -> Table:
    numbers: dict[str, int] = {}
    digits = 1 if kind in (SCORE, MEAN, INDEX) else decimals([r["published"] for r in members])
    rows = [
        TableRow(_where(summary, row), _cells(row, digits, numbers), _model(summary, row))
        for row in members
    ]
    said = LABELS[kind] if decoding is None else f"{LABELS[kind]}. {decoding_label(decoding)}."
    notes = [f"({number}) {text[0].upper()}{text[1:]}." for text, number in numbers.items()]
    columns = ("published", "ours", "difference", "may differ since")
    return Table(
        f"{said} In the paper: {_sources(members)}.", columns, tuple(rows), notes=tuple(notes)
    )


def _sources(members: list[dict]) -> str:
    return ", ".join(dict.fromkeys(row["source"] for row in members))


def _cells(row: dict, digits: int, numbers: dict[str, int]) -> tuple[Cell, ...]:
    ours = NONE
    if row["mean"] is not None:
        ends = (
            "?" if row[name] is None else plain_number(row[name], digits)
            for name in ("low", "high")
        )
        none = row["low"] is None and row["high"] is None
        ours = Cell(plain_number(row["mean"], digits), "" if none else " to ".join(ends))
    difference = NONE if row["difference"] is None else Cell(signed(row["difference"], digits))
    marks = [f"({numbers.setdefault(text, len(numbers) + 1)})" for text in row["why"]]
    why = "in our interval" if row["agrees"] else " ".join(marks)
    return Cell(plain_number(row["published"], digits)), ours, difference, Cell(why)


def _model(summary: dict, row: dict) -> str:
    return arm_labels(summary)[row["model"]]


def _where(summary: dict, row: dict) -> str:
    where = row["where"]
    if where in summary["labels"] or where not in published_benchmarks():
        is_group = any(group["name"] == where for group in summary["groups"])
        return group_label(where) if is_group else benchmark_label(summary, where)
    return published_benchmarks()[where].label


def fidelity_figure(summary: dict[str, Any], narrow: bool) -> Figure | None:
    """Draws our number against the published one, one panel per kind; on the line both are equal."""
    rows = [row for row in summary["fidelity"] if row["mean"] is not None]
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    kinds = [kind for kind in kinds if kind != "mean"]  # Its benchmarks are there.
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
    """Makes axes equal and draws the diagonal; logarithmic except near 0 if the numbers span decades."""
    values = [value for row in rows for value in (row["published"], row["mean"])]
    low, high = min(0.0, *values), max(values)
    room = 0.06 * (high - low) or 1.0
    axes.set_xlim(low - room * (low < 0), high + room)
    axes.set_ylim(low - room * (low < 0), high + room)
    true_minus(axes, "x", "y")
    if kind != SCORE:
        linear = (
            INDEX_LINEAR
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
    """Returns 0 and the powers of ten beyond the linear part that the axis shows."""
    powers = [10.0**k for k in range(-6, 7) if 10.0**k > linear]
    return [-x for x in reversed(powers) if -x >= low] + [0.0] + [x for x in powers if x <= high]


def _number(value: float) -> str:
    return f"{value:g}".replace("-", MINUS)
