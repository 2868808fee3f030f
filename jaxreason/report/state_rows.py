"""What became of hidden states, layer by layer: a part of summary.json made of the metrics' details."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxreason.report.drift_rows import (
    MetricFiles,
    Quantity,
    quantity_rows,
    read_metric_files,
)
from jaxreason.report.files import Arm, Reader, Study
from jaxreason.report.scores import Resampling

POOL, SOURCE = "reply", "base"  # of what is shown layer by layer
STATE_QUANTITIES = (
    Quantity("cka", f"debiased_distance.{POOL}", SOURCE, "CKA distance, debiased", "1 − CKA"),
    Quantity("subspaces", f"angle.{POOL}", SOURCE, "Angle between main axes", "degrees"),
    Quantity("subspaces", f"lost_variance.{POOL}", SOURCE, "Variance off the base's axes", "share"),
    Quantity("frechet", f"mean.{POOL}", SOURCE, "Shift of the mean", "base's variance"),
    Quantity("frechet", f"covariance.{POOL}", SOURCE, "Change of covariance", "base's variance"),
    Quantity("procrustes", f"rotation.{POOL}", SOURCE, "Rotation", "base's variance"),
    Quantity("procrustes", f"scaling.{POOL}", SOURCE, "Scaling", "base's variance"),
    Quantity("procrustes", f"rest.{POOL}", SOURCE, "Neither of them", "base's variance"),
    Quantity("pca_shift", "layer_shift.all", SOURCE, "PCA shift, prompt and reply", "state units"),
    Quantity("pca_shift", "layer_shift.all_no_sinks", SOURCE, "Without sink tokens", "state units"),
    Quantity("sinks", "largest_state", SOURCE, "Longest state, change of size", "log ratio"),
)
BY_LAYER = {  # what is drawn against the layer: name -> metric and key of its details
    "distance": ("cka", "debiased_distance"),
    "angle": ("subspaces", "angle"),
    "mean": ("frechet", "mean"),
    "covariance": ("frechet", "covariance"),
    "rotation": ("procrustes", "rotation"),
    "rest": ("procrustes", "rest"),
}
MAPS = ("base_to_tuned", "base_to_base")


def state_part(reader: Reader, study: Study, how: Resampling) -> dict[str, list[dict]]:
    """Everything about hidden states, on the base's replies.

    Returns:
      `rows`: STATE_QUANTITIES as rows of drift.
      `layers`: every value of BY_LAYER by arm, [L+1] numbers, means over benchmarks and seeds; None for a layer in
        which the base does not vary.
      `maps`: of each benchmark and arm, both models' centres on the base's first two axes in every layer, of the
        arm's first seed.
      `cka`: of each arm, CKA of all layers of the base with all of the tuned model and with all of its own.
      `variance`: of each arm, the share of the variance of both models on their first axes, mean over layers.
      `sinks`: of each arm, how many tokens are sinks in both models, and where.

    Raises:
      UserError: a file is broken.
    """
    files = read_metric_files(reader, study, (quantity.metric for quantity in STATE_QUANTITIES))
    made = {"layers": _layers, "maps": _maps, "cka": _cka, "variance": _variance, "sinks": _sinks}
    rows = quantity_rows(study, files, how, STATE_QUANTITIES)
    return {"rows": rows} | {name: make(study, files) for name, make in made.items()}


def _units(study: Study, files: MetricFiles, arm: Arm, metric: str) -> Iterator[tuple[int, dict]]:
    """Every seed's details of the study's benchmarks, on the base's replies, where the metric is defined."""
    for seed in arm.seeds:
        found = files.get((arm.name, seed, metric), {"details": {}})
        for unit in found["details"].get("units", ()):
            where = unit.get("source"), unit.get("benchmark") in study.groups
            if where == (SOURCE, True) and "undefined" not in unit:
                yield seed, unit


def _layers(study: Study, files: MetricFiles) -> list[dict]:
    rows = []
    for arm in study.arms:
        for name, (metric, key) in BY_LAYER.items():
            units = [unit.get(POOL, {}) for _, unit in _units(study, files, arm, metric)]
            found = [unit[key] for unit in units if key in unit]
            if found:
                rows.append({"arm": arm.name, "name": name, "values": _mean_of_known(found)})
    return rows


def _mean_of_known(rows: list[list[float | None]]) -> list[float | None]:
    columns = (
        [value for value in column if value is not None] for column in zip(*rows, strict=True)
    )
    return [_short(np.mean(column)) if column else None for column in columns]


def _short(value: Any, digits: int = 4) -> Any:
    """Numbers with that many digits, of an array as nested lists."""
    if np.ndim(value):
        return [_short(part, digits) for part in value]
    return float(f"{float(value):.{digits}g}")


def _maps(study: Study, files: MetricFiles) -> list[dict]:
    rows = []
    for arm in study.arms:
        for seed, unit in _units(study, files, arm, "pca_shift"):
            if seed == arm.seeds[0] and POOL in unit:
                centres = {m: _short(unit[POOL][f"{m}_centre"]) for m in ("base", "tuned")}
                rows.append(
                    {"arm": arm.name, "benchmark": unit["benchmark"], "seed": seed, **centres}
                )
    return rows


def _cka(study: Study, files: MetricFiles) -> list[dict]:
    """Means over benchmarks and seeds."""
    rows = []
    for arm in study.arms:
        units = [unit.get(POOL, {}) for _, unit in _units(study, files, arm, "cka")]
        units = [unit for unit in units if all(name in unit for name in MAPS)]
        if units:
            means = {
                m: np.mean([unit[m] for unit in units], axis=0).round(3).tolist() for m in MAPS
            }
            rows.append({"arm": arm.name, **means})
    return rows


def _variance(study: Study, files: MetricFiles) -> list[dict]:
    rows = []
    for arm in study.arms:
        units = [unit.get(POOL, {}) for _, unit in _units(study, files, arm, "pca_shift")]
        units = [unit for unit in units if "explained_variance_tuned" in unit]
        if units:
            keys = {"base": "explained_variance", "tuned": "explained_variance_tuned"}
            found = {m: np.mean([unit[key] for unit in units], (0, 1)) for m, key in keys.items()}
            plane = _short(np.mean([unit["shift_in_plane"] for unit in units]))
            shares = {model: _short(part) for model, part in found.items()}
            rows.append({"arm": arm.name, "in_plane": plane, **shares})
    return rows


def _sinks(study: Study, files: MetricFiles) -> list[dict]:
    """Means over benchmarks and seeds of numbers a text, in the middle layer."""
    rows = []
    for arm in study.arms:
        units = [unit for _, unit in _units(study, files, arm, "sinks") if "rule" in unit]
        if units:
            found = [_in_middle(unit) for unit in units]
            means = {name: _short(np.mean([row[name] for row in found])) for name in found[0]}
            about = {"layer": units[0]["middle"], "ratio": units[0]["rule"]["ratio"]}
            rows.append({"arm": arm.name, **about, **means})
    return rows


def _in_middle(unit: dict) -> dict[str, float]:
    layer, rows = unit["middle"], unit["by_position"]
    names = ("excluded", "excluded_of_reply", "base_ratio", "tuned_ratio")
    counted = {
        f"{model}_{where}": sum(
            row[model][layer] for row in rows if (row["first"] == 1) == at_first
        )
        for model in ("base", "tuned")
        for where, at_first in (("first", True), ("later", False))
    }
    return {name: unit[name][layer] for name in names} | counted
