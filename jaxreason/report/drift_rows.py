"""Drift of every arm by group, pooled over its seeds: rows of summary.json, from
analysis/<metric>.json.
"""

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxreason.report.files import Arm, Reader, Study
from jaxreason.report.scores import Resampling
from jaxreason.results.drift_files import read_drift, undefined_in
from jaxreason.results.groups import TRAINING
from jaxreason.results.statistics import percentiles, resampled_seeds


class Quantity(NamedTuple):
    """A number of a metric file that the report shows."""

    metric: str
    name: str
    source: str  # whose replies were read
    label: str
    unit: str


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
HEADLINE_KL, REVERSE_KL = QUANTITIES[0], QUANTITIES[1]
HEADLINE_SHIFT, PAPER_SHIFT, SCALED_SHIFT = (q for q in QUANTITIES if q.metric == "pca_shift")


MetricFiles = dict[tuple[str, int, str], dict[str, Any]]  # by arm, seed and metric


def rows_of(rows: list[dict], quantity: Quantity) -> list[dict]:
    """The rows of one quantity."""
    wanted = (quantity.metric, quantity.name, quantity.source)
    return [row for row in rows if (row["metric"], row["name"], row["source"]) == wanted]


def read_metric_files(reader: Reader, study: Study, names: Iterable[str]) -> MetricFiles:
    """Of every run the files of these metrics that are there.

    Raises:
      UserError: a file is broken.
    """
    names = dict.fromkeys(names)
    return {
        (arm.name, seed, name): value
        for arm, seed in study.runs()
        for name in names
        if (value := read_drift(reader.folder / arm.folder(seed), name, reader.read)) is not None
    }


def read_metrics(reader: Reader, study: Study) -> tuple[dict, list[str]]:
    """Metric files by (arm, seed, metric); and what is missing, in words."""
    names = tuple(dict.fromkeys([*(quantity.metric for quantity in QUANTITIES), "weights"]))
    found = read_metric_files(reader, study, names)
    missing = _absent(study, found, names)
    missing += [
        f"{arm.label}: compared with its base by its scores alone, as the recipe asks."
        for arm in study.arms
        if not arm.drift
    ]
    return found, missing + _undefined(study, found)


def _absent(study: Study, found: dict, names: tuple[str, ...]) -> list[str]:
    """What was not measured: once where no arm has it, else by run."""
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
    """Where a metric says that it is undefined, and why: of an arm, or on a benchmark, said once for all arms and
    metrics.
    """
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
    """Every quantity of every group and arm: mean over seeds, interval over texts and seeds, each
    seed's own.
    """
    rows = []
    for quantity in quantities:
        for group in (*study.group_names(), TRAINING):
            for arm in study.arms:
                row = _row(quantity, group, arm, metrics, how)
                rows += [] if row is None else [row]
    return rows


def _row(quantity: Quantity, group: str, arm: Arm, metrics: dict, how: Resampling) -> dict | None:
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
        pooled = np.maximum(pooled, 0)  # stretching must not make a distance negative
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
    """Weight drift of every arm: mean over seeds and each seed's own."""
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
