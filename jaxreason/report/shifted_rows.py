"""Shifted tokens of every arm, in replies of the tuned models, from analysis/shifted_tokens.json."""

from collections import Counter
from typing import Any

from jaxreason.report.drift_rows import (
    MetricFiles,
    Quantity,
    quantity_rows,
    read_metric_files,
)
from jaxreason.report.files import Arm, Reader, Study
from jaxreason.report.scores import Resampling
from jaxreason.results.drift_files import MADE_WITH
from jaxreason.results.groups import MATH
from jaxreason.results.ratios import pooled_mean
from jaxreason.results.statistics import quantile

METRIC, SOURCE = "shifted_tokens", "tuned"
TENTHS = 10
SHARES = {  # names in the file -> what the report calls them
    "shifted": "Shifted tokens",
    "top_changed": "Tokens with another first choice",
    "js_above": "Tokens above the threshold",
    "promoted_in_top5": "Promoted token was in the base's top 5",
    "logical.shifted": "Words of logical structure, where shifted",
    "logical.elsewhere": "Words of logical structure, elsewhere",
}
ENTROPIES = {
    "base_entropy.shifted": "Base's entropy, where shifted",
    "base_entropy.elsewhere": "Base's entropy, elsewhere",
}
TOKENS, POINTS = 20, 120  # shown of an arm
ROUNDING = 1e-9
MEANS = ("base_probability", "tuned_probability", "base_rank", "replaced_tuned_rank")


def shifted_rows(reader: Reader, study: Study, how: Resampling) -> dict[str, Any] | None:
    """What the report shows of shifted tokens; None where no arm has the file."""
    files = read_metric_files(reader, study, [METRIC])
    units = {(arm, seed): _units(study, found) for (arm, seed, _), found in files.items()}
    if not any(units.values()):
        return None
    first = next(files[*key, METRIC] for key, members in units.items() if members)
    arms = [(arm, [s for s in arm.seeds if units.get((arm.name, s))]) for arm in study.arms]
    arms = [(arm, {s: units[arm.name, s] for s in seeds}) for arm, seeds in arms if seeds]
    return {
        "threshold": first[MADE_WITH]["settings"]["shift_threshold"],
        "word_classes": first["details"]["word_classes"],
        "rows": _rows(study, files, how),
        "arms": [_describe(arm, seeds, how) for arm, seeds in arms],
        "examples": _examples(study, arms),
        "views": _views(study, arms),
    }


def _units(study: Study, found: dict) -> list[dict]:
    """Of the tuned model's replies on the study's benchmarks, as far as they were measured."""
    units = [unit for unit in found["details"]["units"] if unit["source"] == SOURCE]
    return [unit for unit in units if unit["benchmark"] in study.groups and "num_tokens" in unit]


def _rows(study: Study, files: MetricFiles, how: Resampling) -> list[dict]:
    """Every number of every group and arm, over seeds."""
    tenths = [f"shifted.tenth_{number + 1}" for number in range(TENTHS)]
    wanted = [Quantity(METRIC, n, SOURCE, SHARES.get(n, ""), "share") for n in (*SHARES, *tenths)]
    wanted += [Quantity(METRIC, n, SOURCE, label, "nats") for n, label in ENTROPIES.items()]
    rows = quantity_rows(study, files, how, wanted)
    # Stretching for few seeds must not make a share larger than all.
    top = {q.name for q in wanted if q.unit == "share"}
    return [r | {"high": min(r["high"], 1.0)} if r["name"] in top else r for r in rows]


def _describe(arm: Arm, seeds: dict[int, list[dict]], how: Resampling) -> dict[str, Any]:
    """The counts of an arm, all benchmarks and seeds together, its most promoted tokens, points of its replies."""
    units = [unit for members in seeds.values() for unit in members]
    names = ("num_tokens", "num_changed", "num_above", "num_shifted", "num_rank_changed")
    return {
        "arm": arm.name,
        **{name: sum(unit[name] for unit in units) for name in names},
        "classes": _classes(units),
        "tokens": _tokens(units, how)[:TOKENS],
        "num_other_shifted": sum(unit["num_other_shifted"] for unit in units),
        "points": _spread([point for unit in units for point in unit["points"]], POINTS),
    }


def _spread(points: list, most: int) -> list:
    """At most so many of them, evenly over all benchmarks."""
    return points[:: max(1, -(-len(points) // most))]


def _classes(units: list[dict]) -> dict[str, dict[str, int]] | None:
    if any(unit["classes"] is None for unit in units):
        return None
    total: dict[str, Counter] = {}
    for unit in units:
        for name, counts in unit["classes"].items():
            total.setdefault(name, Counter()).update(counts)
    return {name: {k: counts[k] for k in ("shifted", "chosen")} for name, counts in total.items()}


def _tokens(units: list[dict], how: Resampling) -> list[dict]:
    """Promoted tokens, the most frequent first; a benchmark counts those that its file keeps."""
    found: dict[int, list[dict]] = {}
    for row in (row for unit in units for row in unit["tokens"]):
        found.setdefault(row["token"], []).append(row)
    rows = [_token(members, how) for members in found.values()]
    return sorted(rows, key=lambda row: (-row["shifted"], row["token"]))


def _token(members: list[dict], how: Resampling) -> dict:
    numbers = [row["shifted"] for row in members]
    chosen = sum(row["chosen"] for row in members)
    replaces: Counter = Counter()
    for replaced in (row["replaces"] for row in members):
        replaces[replaced["token"], replaced["text"]] += replaced["times"]
    means = {name: _interval([row[name] for row in members], numbers, how) for name in MEANS}
    return {
        **{name: members[0][name] for name in ("token", "text", "class")},
        "shifted": sum(numbers),
        "chosen": chosen,
        "share": sum(numbers)
        / chosen,  # of the positions at which it is the tuned model's first choice
        "replaces": dict(zip(("token", "text"), replaces.most_common(1)[0][0], strict=True)),
        **means,
    }


def _interval(parts: list[dict], numbers: list[int], how: Resampling) -> dict[str, float | None]:
    mean, error = pooled_mean([p["mean"] for p in parts], [p["error"] for p in parts], numbers)
    # Values that are all alike would have an interval of no width, which no sample has.
    alike = error is None or error < ROUNDING * mean
    half = None if alike else quantile(how.confidence) * error
    return {
        "mean": mean,
        "low": None if half is None else max(mean - half, 0.0),
        "high": None if half is None else mean + half,
    }


def _examples(study: Study, arms: list) -> list[dict]:
    """Of each arm one reply to one question, the same for all that were asked it, as its first seed has it."""
    named = [_by_benchmark(seeds, "example") for _, seeds in arms]
    shared = Counter((name, e["id"]) for found in named for name, e in found.items())
    if not shared:
        return []
    order = {name: n for n, name in enumerate(study.groups)}
    often = max(shared, key=lambda key: (shared[key], -order.get(key[0], len(order))))
    rows = []
    for (arm, seeds), found in zip(arms, named, strict=True):
        example = found.get(often[0])
        if example is not None and example["id"] == often[1]:
            rows.append({"arm": arm.name, "seed": next(iter(seeds)), "benchmark": often[0]} | example)  # fmt: skip
    return rows


def _by_benchmark(seeds: dict[int, list[dict]], name: str) -> dict[str, dict]:
    """What the units of an arm's first seed hold under a name."""
    units = next(iter(seeds.values()))
    return {unit["benchmark"]: unit[name] for unit in units if unit[name] is not None}


def _views(study: Study, arms: list) -> list[dict]:
    """A coloured reply of every arm from a benchmark of math and from one of the last group."""
    named = [(arm, seeds, _by_benchmark(seeds, "view")) for arm, seeds in arms]
    having = {benchmark for *_, found in named for benchmark in found}
    groups = [g for g in study.group_names() if having & set(study.benchmarks(g))]
    chosen = [MATH if MATH in groups else groups[0], groups[-1]] if groups else []
    rows = []
    for group in dict.fromkeys(chosen):
        counts = Counter(b for *_, found in named for b in study.benchmarks(group) if b in found)
        benchmark = counts.most_common(1)[0][0]
        rows += [
            {"arm": arm.name, "seed": next(iter(seeds)), "benchmark": benchmark} | found[benchmark]
            for arm, seeds, found in named
            if benchmark in found
        ]
    return rows
