"""A made-up study folder with the files of the metrics of hidden states, made by the metrics from made-up features."""

import json
import pathlib

import numpy as np
from synthetic_study import ARMS, GROUPS, write_study

from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.analysis.metric_types import Sinks, TextMeasurements, bootstrap

STATES = ("pca_shift", "cka", "subspaces", "frechet", "procrustes", "sinks")
TEXTS, DEPTH, WIDTH = 12, 4, 20
SEEDS = (0, 1)
MOVED = {name: ARMS[name] for name in ("rl", "sft_hi")}


def measured_of(benchmark: str, arm: str, seed: int) -> TextMeasurements:
    """An arm moves the later layers, by its drift; each text's first token is a sink of the base."""
    rng = np.random.default_rng(list(GROUPS).index(benchmark))
    base = rng.normal(size=(TEXTS, DEPTH, WIDTH)) * np.geomspace(4, 0.5, WIDTH)
    moved = np.random.default_rng(seed).normal(size=base.shape)
    tuned = base + ARMS[arm][3] * np.arange(DEPTH)[:, None] * moved
    pools = [{pool: part for pool in ("reply", "all", "all_no_sinks")} for part in (base, tuned)]
    first = np.zeros((TEXTS, DEPTH, 20))
    first[:, DEPTH // 2, 0] = 1
    ratios = np.full((TEXTS, DEPTH), 150.0)
    sinks = Sinks(first, 0 * first, first, 0 * ratios, ratios, ratios / 2)
    return TextMeasurements(*pools, np.zeros((TEXTS, DEPTH)), {}, np.ones((TEXTS, 1), bool), sinks)


def write_states(folder: pathlib.Path) -> pathlib.Path:
    """The study; only the first benchmark of each group counts in the groups' rows."""
    write_study(folder, num_items=10, seeds=SEEDS, arms=MOVED, trained=False)
    for arm in MOVED:
        for seed in SEEDS:
            seen = {name: measured_of(name, arm, seed) for name in GROUPS}
            for metric in STATES:
                path = folder / arm / f"seed_{seed}" / "analysis" / f"{metric}.json"
                path.write_text(json.dumps(_file(metric, seen)))
    return folder


def _file(metric: str, seen: dict[str, TextMeasurements]) -> dict:
    units, groups = [], {}
    for benchmark, measured in seen.items():
        prepared = METRICS[metric].prepare(measured)
        about = {"benchmark": benchmark, "source": "base", "num_texts": TEXTS}
        units.append(about | {"num_cut": 0, "num_dropped": 0} | prepared.details)
        groups.setdefault(GROUPS[benchmark], bootstrap(prepared, range(TEXTS), 20, (0,)))
    rows = [_row(group, name, f) for group, f in groups.items() for name in f.values]
    about = {"metric": metric, "decoding": "t1", "variant": "robust", "rows": []}
    return about | {"groups": rows, "details": {"units": units}}


def _row(group: str, name: str, found) -> dict:
    low, high = np.quantile(found.draws[name], [0.025, 0.975])
    where = {"group": group, "source": "base", "name": name, "value": found.values[name]}
    return where | {"low": low, "high": high, "draws": found.draws[name].tolist()}
