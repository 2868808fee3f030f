"""Benchmarks that were measured in two ways (robust and the paper's): scores, gaps, a table and sentences."""

import itertools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxreason.errors import UserError
from jaxreason.report.report_tables import Table, TableRow, benchmark_label, decoding_caption, find
from jaxreason.report.score_rows import (
    Level,
    Resampling,
    RunKey,
    difference_rows,
    levels,
    score_rows,
    verdict,
)
from jaxreason.report.score_tables import change_cell, score_cell
from jaxreason.report.study_reader import Evaluation, Study
from jaxreason.report.wording import (
    MANY,
    PAPER,
    ROBUST,
    VARIANT_LABELS,
    arm_labels,
    decoding_label,
    join_words,
    signed,
)
from jaxreason.results.clusters import SampleScores, cluster
from jaxreason.results.grade_files import sample_scores
from jaxreason.results.significance import paired_significance
from jaxreason.results.statistics import difference_interval, resample_questions

BOTH_WAYS = (
    "The robust score beside the one that the paper's released evaluation would give, and the latter minus the former, "
    "in points."
)
SIDES = (PAPER, ROBUST)  # The sides of a difference: the first minus the second.
NUMBERS = ("mean", "low", "high")
SHOWN = ("benchmark", "decoding", "model", "variant", *NUMBERS)
Evaluations = dict[RunKey | str, Evaluation]
SAID = {"up": "up", "down": "down", "unclear": "not clear"}


def variant_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns a table per decoding: for tasks measured in both ways, every model's two scores and their difference."""
    labels, tables = arm_labels(summary), []
    names = [name for group in summary["groups"] for name in group["benchmarks"]]
    for decoding in summary["decodings"]:
        rows = []
        for benchmark, model in itertools.product(names, labels):
            where = {"benchmark": benchmark, "decoding": decoding, "model": model}
            gap = find(summary["variant_gaps"], **where)
            if gap is not None:
                found = (
                    find(summary["variants"], variant=name, **where) for name in VARIANT_LABELS
                )
                cells = (*map(score_cell, found), change_cell(gap))
                rows.append(TableRow(labels[model], cells, benchmark_label(summary, benchmark)))
        if rows:
            columns = (*VARIANT_LABELS.values(), "difference")
            tables.append(Table(decoding_caption(decoding, BOTH_WAYS), columns, tuple(rows)))
    return tables


def compare_variants(
    study: Study,
    evaluations: Evaluations,
    scores: list[dict],
    differences: list[dict],
    variant: str,
    how: Resampling,
) -> dict[str, list[dict]]:
    """Compares the variants of benchmarks that were measured in several variants, in points.

    Args:
      study: its study.json.
      evaluations: of the base and of every run.
      scores: the report's rows of scores, which are those of `variant`.
      differences: the report's rows of differences from the base.
      variant: the variant that the report is about.
      how: how intervals are made.

    Returns:
      `variants`, the score of every benchmark, decoding, model and variant, with the interval that it would have in a
      report on that variant; `variant_gaps`, paper minus robust of each, paired over questions if both asked the same
      ones, with a verdict; `variant_verdicts`, the verdict on every arm's difference from the base in each.
    """
    scores = [row | {"variant": variant} for row in scores]
    differences = [row | {"variant": variant} for row in differences]
    for name in dict.fromkeys(name for found in evaluations.values() for name in found.others):
        for found in _levels(study, evaluations, name, how):
            scores += [row | {"variant": name} for row in score_rows(study, found, how)]
            differences += [row | {"variant": name} for row in difference_rows(study, found, how)]
    measured = _in_both(scores, "model")
    shown = [{name: row[name] for name in SHOWN} for pair in measured.values() for row in pair]
    gaps = [_gap(study, evaluations, variant, how, key, pair) for key, pair in measured.items()]
    verdicts = [
        dict(zip(("benchmark", "decoding", "arm"), key, strict=True))
        | {row["variant"]: row["verdict"] for row in pair}
        for key, pair in _in_both(differences, "arm").items()
    ]
    return {"variants": shown, "variant_gaps": gaps, "variant_verdicts": verdicts}


def _levels(
    study: Study, evaluations: Evaluations, variant: str, how: Resampling
) -> Iterator[list[Level]]:
    """Yields the levels of each decoding that were measured in a variant other than the report's."""
    others = {run: found.measured(variant) for run, found in evaluations.items()}
    for decoding in study.decodings:
        yield levels(study, others, decoding, how)[0]


def _in_both(rows: list[dict], whose: str) -> dict[tuple[str, str, str], list[dict]]:
    """Returns the rows of a benchmark, decoding and model, the paper's first, if each variant has one."""
    found: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        if row["benchmark"] is not None and row["mean"] is not None:
            key = row["benchmark"], row["decoding"], row[whose]
            found.setdefault(key, {})[row["variant"]] = row
    return {k: [v[name] for name in SIDES] for k, v in found.items() if set(v) >= set(SIDES)}


def _gap(
    study: Study,
    evaluations: Evaluations,
    variant: str,
    how: Resampling,
    key: tuple[str, str, str],
    pair: list[dict],
) -> dict[str, Any]:
    """Returns paper minus robust of one model, over all its seeds together: the same replies are scored in two ways."""
    benchmark, decoding, model = key
    where = {"benchmark": benchmark, "decoding": decoding, "model": model}
    seeds = [(arm.name, seed) for arm, seed in study.runs() if arm.name == model]
    runs = [run for run in (model, *seeds) if run in evaluations]
    sides = []
    for name in SIDES:
        found = [evaluations[run] for run in runs]
        found = found if name == variant else [one.measured(name) for one in found]
        sides.append(_scores(found, benchmark, decoding, f"{model}: {benchmark}, {decoding}"))
    try:
        scores = cluster(sides)
    except UserError:  # The two variants ask different questions.
        return where | {"paired": False} | unpaired(*pair)
    seed = how.seed, zlib.crc32(f"{benchmark}.{decoding}.{model}".encode())
    found = resample_questions(scores, [0, 1], how.resamples, seed)
    whole = difference_interval(found, [0], [1], how.confidence, seed)
    sure = paired_significance(scores, [0], [1], how.confidence, seed)
    direction = verdict(whole, np.array([whole.mean]), sure.p, 1 - how.confidence)
    numbers = {name: 100 * getattr(whole, name) for name in NUMBERS}
    return where | {"paired": True} | numbers | {"verdict": direction}


def _scores(
    found: Sequence[Evaluation], benchmark: str, decoding: str, source: str
) -> SampleScores:
    """Returns the primary metric over the samples of all seeds."""
    parts = []
    for one in found:
        for row in one.rows:
            if row["primary"] and (row["benchmark"], row["decoding"]) == (benchmark, decoding):
                scored = row["metric"], row.get("weight"), source
                parts.append(sample_scores(one.samples[benchmark, decoding], *scored))
    return SampleScores(
        values=np.concatenate([part.values for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        clusters=tuple(name for part in parts for name in part.clusters),
        subsets=tuple(name for part in parts for name in part.subsets),
    )


def unpaired(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Returns the difference of two independent scores, from their intervals (Zou and Donner 2008)."""
    mean = first["mean"] - second["mean"]
    below = np.hypot(first["mean"] - first["low"], second["high"] - second["mean"])
    above = np.hypot(first["high"] - first["mean"], second["mean"] - second["low"])
    low, high = float(mean - below), float(mean + above)
    direction = "up" if low > 0 else "down" if high < 0 else "unclear"
    return {"mean": mean, "low": low, "high": high, "verdict": direction}


def two_ways(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Returns tasks whose two scores differ by more than their intervals allow, largest gap first.

    It also returns changes from the base that have different verdicts; nothing if no task was measured in both ways.
    """
    gaps = summary["variant_gaps"]
    if not gaps:
        return []
    number = len({gap["benchmark"] for gap in gaps})
    tasks = "One task was" if number == 1 else f"{number} tasks were"
    parts = [f"{tasks} measured both robustly and in the paper's way.", _gaps(summary)]
    return [{"topic": "Two ways of measuring", "text": " ".join(parts + _verdicts(summary))}]


def _gaps(summary: dict) -> str:
    largest: dict[str, dict] = {}
    for gap in sorted(summary["variant_gaps"], key=lambda gap: -abs(gap["mean"])):
        if gap["verdict"] != "unclear":
            largest.setdefault(gap["benchmark"], gap)
    if not largest:
        return "On none of them do the two scores differ by more than their intervals allow."
    named = [
        f"{_task(summary, gap)} ({signed(gap['mean'])} for {_model(summary, gap, 'model')})"
        for gap in largest.values()
    ]
    return (
        f"On {len(largest)} of them the two scores differ by more than their intervals allow; paper minus robust, "
        f"where it is largest: {join_words(_first(named))}."
    )


def _verdicts(summary: dict) -> list[str]:
    rows = summary["variant_verdicts"]
    other = [row for row in rows if row["robust"] != row["paper"]]
    if not rows:
        return []
    if not other:
        return ["Every change from the base on them has the same verdict in both ways."]
    named = [
        f"{_task(summary, row)} for {_model(summary, row, 'arm')} ({SAID[row['robust']]} robustly, "
        f"{SAID[row['paper']]} in the paper's way)"
        for row in sorted(other, key=lambda row: "unclear" in (row["robust"], row["paper"]))
    ]
    return [
        f"Of the {len(rows)} changes from the base on them, {len(other)} have another verdict in the paper's way: "
        f"{join_words(_first(named))}."
    ]


def _first(named: list[str]) -> list[str]:
    more = len(named) - MANY
    return [*named[:MANY], f"{more} more"] if more > 0 else named


def _task(summary: dict, row: dict) -> str:
    return summary["labels"].get(row["benchmark"], row["benchmark"])


def _model(summary: dict, row: dict, whose: str) -> str:
    name, label = arm_labels(summary)[row[whose]], decoding_label(row["decoding"])
    return f"{name}, {label[0].lower()}{label[1:]}" if len(summary["decodings"]) > 1 else name
