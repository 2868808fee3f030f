"""The content of analysis/<metric>.json and of its parts: rows with intervals, means of groups, details.

A metric that is undefined, for two models or for one unit, has no row; `undefined` in the details says why.
"""

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.analysis.metric_types import Bootstrapped, Prepared, TextMeasurements, bootstrap
from jaxreason.analysis.prepared_metrics import check_given, prepare_metric
from jaxreason.analysis.raw_questions import QuestionStates
from jaxreason.analysis.texts import Unit
from jaxreason.results.statistics import percentiles


def part(
    metrics: tuple[str, ...],
    unit: Unit,
    measured: TextMeasurements | QuestionStates,
    section: Mapping[str, Any],
) -> dict[str, dict]:
    """Returns values, resampled values and details of metrics of texts, for one unit.

    Args:
      metrics: names in METRICS.
      unit: the texts.
      measured: the measurements of these texts.
      section: fields of the recipe's section: `resamples`, `seed`, and those that the metrics take.
    """
    reason = why_not_finite_states(unit, measured)
    if reason:
        none = {"values": {}, "draws": {}, "details": {"undefined": reason}}
        return {"metrics": dict.fromkeys(metrics, none)}
    # The seed depends on the benchmark, not on source or run: the same items are drawn together wherever they are read.
    seed = (section["seed"], zlib.crc32(unit.benchmark.encode()))
    result = {}
    for name in metrics:
        prepared = prepare_metric(name, measured, section)
        values = prepared.statistic(np.arange(len(unit.texts)))
        check_given(name, values, prepared.details)
        found = bootstrap(prepared, unit.clusters(), section["resamples"], seed, values)
        why = {} if found.values else {"undefined": f"all its values are NaN ({', '.join(values)})"}
        result[name] = {
            "values": found.values,
            "draws": {key: _rounded(draws) for key, draws in found.draws.items()},
            "details": why | prepared.details,
        }
    return {"metrics": result}


def _rounded(draws: np.ndarray) -> list[float]:
    return [float(f"{draw:.6g}") for draw in draws]


def texts_file(
    about: dict, confidence: float, metric: str, units: list[Unit], found: dict[Unit, dict]
) -> dict:
    """Returns the file of a metric of texts or questions, made from the parts of its units."""
    rows, groups = [], {}
    for unit in (unit for unit in units if unit in found):
        part = found[unit][metric]
        where = {"benchmark": unit.benchmark, "group": unit.group, "source": unit.source}
        draws = {name: np.array(values) for name, values in part["draws"].items()}
        rows += _rows(
            where | {"num_texts": len(unit.texts)},
            Bootstrapped(part["values"], draws),
            confidence,
        )
        groups.setdefault((unit.group, unit.source), []).append(Bootstrapped(part["values"], draws))
    details = [_unit_details(u, found[u][metric]["details"] if u in found else {}) for u in units]
    return {
        "metric": metric,
        **about,
        "confidence": confidence,
        "rows": rows,
        "groups": [
            row
            for key, members in groups.items()
            for row in drift_group_rows(*key, members, confidence)
        ],
        "details": {**METRICS[metric].about, "units": details},
    }


def _unit_details(unit: Unit, details: dict) -> dict:
    counts = {"num_texts": len(unit.texts), "num_cut": unit.num_cut}
    why = {"undefined": unit.why_empty} if unit.why_empty else {}
    where = {"benchmark": unit.benchmark, "source": unit.source}
    return where | counts | {"num_dropped": unit.num_dropped} | why | details


def undefined_file(about: dict, metric: str, reason: str) -> dict:
    """Returns the file of a metric that these two models do not have."""
    nothing = {"rows": [], "groups": [], "details": {"undefined": reason, "units": []}}
    return {"metric": metric, **about, **nothing}


def _rows(where: dict, found: Bootstrapped, confidence: float) -> list[dict]:
    rows = []
    for name, value in found.values.items():
        low, high = percentiles(found.draws[name], confidence)
        rows.append(where | {"name": name, "value": value, "low": low, "high": high})
    return rows


def drift_group_rows(
    group: str, source: str, members: list[Bootstrapped], confidence: float
) -> Iterable[dict]:
    """Yields the mean over those benchmarks of a group on which a value is defined.

    Their texts are resampled independently; the draws are kept for the report.
    """
    rows = []
    for name in dict.fromkeys(name for member in members for name in member.values):
        having = [member for member in members if name in member.values]
        value = float(np.mean([member.values[name] for member in having]))
        draws = np.mean([member.draws[name] for member in having], axis=0)
        where = {"group": group, "source": source, "num_benchmarks": len(having)}
        whole = Bootstrapped({name: value}, {name: draws})
        rows += [row | {"draws": _rounded(draws)} for row in _rows(where, whole, confidence)]
    return rows


def weights_file(about: dict, metric: str, prepared: Prepared) -> dict:
    """Returns the file of a metric of the parameters, which depends on no text and has no interval."""
    where = {"benchmark": None, "group": None, "source": None, "low": None, "high": None}
    values = prepared.statistic(np.arange(0))
    check_given(metric, values, prepared.details)
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    rows = [where | {"name": name, "value": value} for name, value in known.items()]
    return {"metric": metric, **about, "rows": rows, "groups": [], "details": prepared.details}


def why_not_finite_states(unit: Unit, measured: TextMeasurements | QuestionStates) -> str:
    """Returns the first text in which a model's states or token distributions are not finite, and the layer; or ""."""
    is_pooled = isinstance(measured, TextMeasurements)
    for model, states in (("base", measured.base), ("tuned model", measured.tuned)):
        several = states.values() if is_pooled else [states]
        wrong = np.any([~np.isfinite(states).all(-1) for states in several], axis=0)
        if wrong.any():
            text, layer = np.argwhere(wrong)[0]
            where = f"from layer {layer} on" if layer else "from the embeddings on"
            return f"text {unit.texts[text].id}: states of the {model} are not finite {where}"
    for name, values in (measured.tokens if is_pooled else {}).items():
        wrong = ~np.isfinite(values)
        if wrong.any():
            text, place = np.argwhere(wrong)[0]
            return f"text {unit.texts[text].id}: {name} of reply token {place + 1} is not finite"
    return ""
