"""The paper's numbers beside ours: a row of summary.json for every published number that the study has measured."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxreason.report import fidelity_causes as causes
from jaxreason.report.files import Arm, Reader, Study
from jaxreason.report.tables import find
from jaxreason.report.transfer_tables import one_mode, pooled_rows
from jaxreason.report.wording import PAPER
from jaxreason.results import published
from jaxreason.results.drift_files import read_drift
from jaxreason.results.groups import MATH
from jaxreason.results.published import KL, PCA_SHIFT, RANK_SHIFT

SCORE, MEAN, INDEX = "score", "mean", "index"
KINDS = (SCORE, MEAN, INDEX, PCA_SHIFT, KL, RANK_SHIFT)
# Where ours is: file, name and source of docs/drift.md.
OURS = {
    PCA_SHIFT: ("paper_pca_shift", "shift", "questions"),
    KL: ("token_kl", "paper_kl", "tuned"),
    RANK_SHIFT: ("token_kl", "paper_rank_shift", "tuned"),
}


def fidelity_rows(reader: Reader, study: Study, summary: dict[str, Any]) -> list[dict]:
    """Published, ours, interval, difference and why they may differ; docs/fidelity.md says what each field is.

    Args:
      reader: of the study's folder.
      study: its study.json, whose arms say which models of the paper they are.
      summary: its scores, variants, index and ways.
    """
    rows: list[dict] = []
    known = {base.name: (base.published, True, "") for base in study.bases if base.published}
    for arm in study.arms:
        if arm.published:
            model = published.models()[arm.published]
            known[arm.name] = (model.scores, arm.method == "given", arm.published)
    for decoding in study.decodings:
        for name, (scores, given, model) in known.items():
            if scores:
                rows += _score_rows(study, summary, decoding, name, scores, given, model)
        for arm in (arm for arm in study.arms if arm.published in published.indices()):
            rows += _index_rows(study, summary, decoding, arm)
    for arm in (arm for arm in study.arms if arm.published):
        rows += _drift_rows(reader, arm)
    return rows


def _row(kind: str, model: str, where: str, value: float, ours: dict, why: list[str]) -> dict:
    """A row; `ours` has mean, low and high, each perhaps None."""
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
        "why": [] if agrees else why or [causes.NONE_KNOWN],
    }


def _score_rows(
    study: Study, summary: dict, decoding: str, name: str, scores: str, given: bool, model: str
) -> Iterator[dict]:
    """Of every benchmark; and of every group, where the report is about the paper's way and all of it was asked."""
    values, here = published.scores()[scores], {"decoding": decoding, "model": name}
    about = [] if given else [causes.TRAINED_HERE]
    more = [causes.MODEL[model]] if model in causes.MODEL else []
    found = {b: ours for b in study.groups if b in values and (ours := _ours(summary, here, b))}
    for benchmark, ours in found.items():
        why = about + more + _of_benchmark(summary, benchmark, ours)
        table = published.benchmarks()[benchmark].source
        row = _row(SCORE, name, benchmark, values[benchmark], ours, why)
        yield row | {"decoding": decoding, "source": table, "num_items": ours["num_items"]}
    for group in study.group_names() if summary["variant"] == PAPER else ():
        members = [one.name for one in published.benchmarks().values() if one.group == group]
        whole = set(members) == set(study.benchmarks(group)) and set(members) <= found.keys()
        ours = find(summary["scores"], **here, group=group, benchmark=None)
        if whole and ours and ours["mean"] is not None:
            mean = float(np.mean([values[member] for member in members]))
            why = about + more + ["its benchmarks differ as their own rows say"]
            row = _row(MEAN, name, group, mean, ours, why)
            yield row | {"decoding": decoding, "source": "tables 9 to 11"}


def _ours(summary: dict, here: dict, benchmark: str) -> dict | None:
    """A score in the paper's way where there is one, else in the report's; with `way` and `num_items`."""
    score = find(summary["scores"], **here, benchmark=benchmark)
    if score is None or score["mean"] is None:
        return None
    there = {(way["benchmark"], way["variant"]) for way in summary["ways"]}
    faithful = (benchmark, PAPER) in there
    other = find(summary["variants"], **here, benchmark=benchmark, variant=PAPER)
    ours = other if other is not None and other["mean"] is not None else score
    return {**ours, "num_items": score["num_items"], "num_samples": score["num_samples"]} | {
        "faithful": faithful
    }


def _of_benchmark(summary: dict, benchmark: str, ours: dict) -> list[str]:
    known = published.benchmarks()[benchmark]
    asked = ours["num_items"] * (ours["num_samples"] if known.in_pairs else 1)
    why = [causes.fewer(round(asked), known.questions)] if asked < known.questions else []
    why += [] if ours["faithful"] else [causes.robust_way(benchmark)]
    return why + ([causes.BENCHMARK[benchmark]] if benchmark in causes.BENCHMARK else [])


def _index_rows(study: Study, summary: dict, decoding: str, arm: Arm) -> Iterator[dict]:
    """Of each group, in the mode that is nearest to the published one."""
    found = [r for r in pooled_rows(summary["transfer"]) if r["arm"] == arm.name]
    found = [row for row in found if row["decoding"] == decoding]
    modes = {row["mode"] for row in found}
    mode = "paper_scales" if "paper_scales" in modes else one_mode(found)
    index = published.indices()[arm.published]
    for group, value in index.values.items():
        row = find(found, mode=mode, group=group)
        if row is None:
            continue
        why = [causes.not_reproducible(index.recomputed[group])] * (not index.reproducible)
        why += [causes.TRAINED_HERE] * (arm.method != "given")
        why += [causes.OTHER_SCALES] * (mode != "paper_scales")
        why += _incomplete(study, group)
        why += [f"ours is undefined: {row['undefined']}"] * (row["ti"] is None)
        why += ["the scores that it is made of differ as their own rows say"]
        ours = {"mean": row["ti"], "low": row["low"], "high": row["high"]}
        row = _row(INDEX, arm.name, group, value, ours, why)
        yield row | {"decoding": decoding, "source": "tables 1 and 5", "mode": mode}


def _incomplete(study: Study, group: str) -> list[str]:
    """A sentence where math or the group has not the paper's benchmarks, all and no others."""
    for name in (MATH, group):
        members = {one.name for one in published.benchmarks().values() if one.group == name}
        if members != set(study.benchmarks(name)):
            return ["its groups are not made of the paper's benchmarks, all of them and no others"]
    return []


def _drift_rows(reader: Reader, arm: Arm) -> Iterator[dict]:
    """Of each published distance that was measured: mean over seeds, with the widest ends of their intervals."""
    files: dict[tuple[int, str], dict | None] = {}
    for one in (one for one in published.drifts() if one.model == arm.published):
        metric, name, source = OURS[one.metric]
        of_group = one.where not in published.benchmarks()
        found = []
        for seed in arm.seeds:
            if (seed, metric) not in files:
                folder = reader.folder / arm.folder(seed)
                files[seed, metric] = read_drift(folder, metric, reader.read)
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


def _of_drift(arm: Arm, one: published.PublishedDrift, of_group: bool) -> list[str]:
    why = [causes.TRAINED_HERE] * (arm.method != "given")
    why += [causes.GROUP_NOT_STATED] * of_group
    why += [causes.TWO_MODES] * (published.models()[one.model].method == "vendor")
    return [*why, causes.DRIFT[one.metric]]
