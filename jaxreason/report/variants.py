"""Benchmarks that were measured in more than one way: every model's score in each, and how far they are apart."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreason.errors import UserError
from jaxreason.report.files import Evaluation, Study
from jaxreason.report.scores import Resampling, Run, levels, score_rows, verdict
from jaxreason.results.clusters import SampleScores, cluster
from jaxreason.results.grade_files import sample_scores
from jaxreason.results.significance import compare
from jaxreason.results.statistics import difference_interval, resample
from jaxreason.results.study_files import BASE

NUMBERS = ("mean", "low", "high")
Evaluations = dict[Run | str, Evaluation]


def compare_variants(
    study: Study, evaluations: Evaluations, scores: list[dict], variant: str, how: Resampling
) -> dict[str, list[dict]]:
    """Of benchmarks that were measured in several variants, in points.

    Args:
      study: its study.json.
      evaluations: of the base and of every run.
      scores: the report's rows of scores, which are those of `variant`.
      variant: that the report is about.
      how: the intervals are made.

    Returns:
      `variants`, the score of every benchmark, decoding, model and variant, with the interval that it would have in a
      report on that variant; and `variant_gaps`, paper minus robust of each, paired over questions where both asked
      the same ones, with a verdict.
    """
    rows = [row | {"variant": variant} for row in scores]
    names = dict.fromkeys(name for found in evaluations.values() for name in found.others)
    for name in names if BASE in evaluations else ():
        others = {run: found.measured(name) for run, found in evaluations.items()}
        for decoding in study.decodings:
            found = levels(study, others, decoding, how)[0]
            rows += [row | {"variant": name} for row in score_rows(study, found, how)]
    keys = ("benchmark", "decoding", "model", "variant")
    kept = [row for row in rows if row["benchmark"] is not None and row["mean"] is not None]
    by_key = {tuple(row[key] for key in keys): row for row in kept}
    several = [key for key in by_key if _is_several(key, by_key)]
    shown = [{name: by_key[key][name] for name in (*keys, *NUMBERS)} for key in several]
    pairs = dict.fromkeys(key[:3] for key in several)
    gaps = [_gap(study, evaluations, variant, how, *pair, by_key) for pair in pairs]
    return {"variants": shown, "variant_gaps": gaps}


def _is_several(key: tuple, by_key: dict[tuple, dict]) -> bool:
    return all((*key[:3], name) in by_key for name in ("robust", "paper"))


def _gap(
    study: Study,
    evaluations: Evaluations,
    variant: str,
    how: Resampling,
    benchmark: str,
    decoding: str,
    model: str,
    by_key: dict[tuple, dict],
) -> dict[str, Any]:
    """Paper minus robust of one model: all its seeds together, for it is these replies that are scored in two ways."""
    where = {"benchmark": benchmark, "decoding": decoding, "model": model}
    seeds = [(arm, seed) for arm, seed in ((a.name, s) for a, s in study.runs()) if arm == model]
    runs = [BASE] if model == BASE else seeds
    sides = []
    for name in ("paper", "robust"):
        found = [evaluations[run] for run in runs if run in evaluations]
        found = found if name == variant else [one.measured(name) for one in found]
        sides.append(_scores(found, benchmark, decoding, f"{model}: {benchmark}, {decoding}"))
    try:
        scores = cluster(sides)
    except UserError:  # the two ways ask questions of their own
        pair = [by_key[benchmark, decoding, model, name] for name in ("paper", "robust")]
        return where | {"paired": False} | unpaired(*pair)
    seed = how.seed, zlib.crc32(f"{benchmark}.{decoding}.{model}".encode())
    found = resample(scores, [0, 1], how.resamples, seed)
    whole = difference_interval(found, [0], [1], how.confidence, seed)
    sure = compare(scores, [0], [1], how.confidence, seed)
    direction = verdict(whole, np.array([whole.mean]), sure.p, 1 - how.confidence)
    numbers = {name: 100 * getattr(whole, name) for name in NUMBERS}
    return where | {"paired": True} | numbers | {"verdict": direction}


def _scores(
    found: Sequence[Evaluation], benchmark: str, decoding: str, source: str
) -> SampleScores:
    """Of the primary metric, the samples of all seeds."""
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
    """The difference of two independent scores, from their intervals (Zou and Donner 2008)."""
    mean = first["mean"] - second["mean"]
    below = np.hypot(first["mean"] - first["low"], second["high"] - second["mean"])
    above = np.hypot(first["high"] - first["mean"], second["mean"] - second["low"])
    low, high = float(mean - below), float(mean + above)
    direction = "up" if low > 0 else "down" if high < 0 else "unclear"
    return {"mean": mean, "low": low, "high": high, "verdict": direction}
