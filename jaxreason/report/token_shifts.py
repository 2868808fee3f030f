"""Shifted tokens of every arm in replies of the tuned models: rows and tables, from analysis/shifted_tokens.json."""

import math
from collections import Counter
from typing import Any

from jaxreason.report.group_drift import MetricFiles, Quantity, quantity_rows, read_metric_files
from jaxreason.report.report_tables import NONE, Cell, Table, TableRow, benchmark_label, find
from jaxreason.report.score_rows import Resampling
from jaxreason.report.study_reader import Arm, Reader, Study
from jaxreason.report.wording import arm_labels, decimals, group_label, plain_number
from jaxreason.results.clusters import pooled_mean
from jaxreason.results.drift_files import MADE_WITH
from jaxreason.results.groups import MATH
from jaxreason.results.statistics import quantile

METRIC, SOURCE = "shifted_tokens", "tuned"
TENTHS = 10
# Names in the file -> names in the report.
SHARES = {
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
TOKENS, POINTS = 20, 120  # Shown of each arm.
ROUNDING = 1e-9
FIRST_THRESHOLD = 0.1  # Of files that were made before it could be set.
# Means of a token, and the ends between which each value lies.
MEANS = {
    **dict.fromkeys(("base_probability", "tuned_probability"), (0.0, 1.0)),
    **dict.fromkeys(("base_rank", "replaced_tuned_rank"), (1.0, math.inf)),
}
CLASS_LABELS = {"logical": "logical", "content": "content", "symbol": "symbol", None: "–"}
EXAMPLES = 8  # Tokens of an example that are written out.
SHOWN = ("shifted", "promoted_in_top5", *ENTROPIES, "logical.shifted", "logical.elsewhere")


def shifted_rows(reader: Reader, study: Study, how: Resampling) -> dict[str, Any] | None:
    """Returns the report's rows on shifted tokens; None if no arm has the file."""
    files = read_metric_files(reader, study, [METRIC])
    units = {(arm, seed): _units(study, found) for (arm, seed, _), found in files.items()}
    if not any(units.values()):
        return None
    first = next(files[*key, METRIC] for key, members in units.items() if members)
    arms = [(arm, [s for s in arm.seeds if units.get((arm.name, s))]) for arm in study.arms]
    arms = [(arm, {s: units[arm.name, s] for s in seeds}) for arm, seeds in arms if seeds]
    return {
        "threshold": first[MADE_WITH]["settings"].get("shift_threshold", FIRST_THRESHOLD),
        "word_classes": first["details"]["word_classes"],
        "rows": _rows(study, files, how),
        "arms": [_describe(arm, seeds, how) for arm, seeds in arms],
        "examples": _examples(study, arms),
        "views": _views(study, arms),
    }


def _units(study: Study, found: dict) -> list[dict]:
    """Returns the units with the tuned model's replies on the study's benchmarks that were measured."""
    units = [unit for unit in found["details"].get("units", ()) if "num_tokens" in unit]
    return [u for u in units if u["source"] == SOURCE and u["benchmark"] in study.groups]


def _rows(study: Study, files: MetricFiles, how: Resampling) -> list[dict]:
    """Returns every number of every group and arm, over seeds."""
    tenths = [f"shifted.tenth_{number + 1}" for number in range(TENTHS)]
    wanted = [Quantity(METRIC, n, SOURCE, SHARES.get(n, ""), "share") for n in (*SHARES, *tenths)]
    wanted += [Quantity(METRIC, n, SOURCE, label, "nats") for n, label in ENTROPIES.items()]
    rows = quantity_rows(study, files, how, wanted)
    # Stretching for few seeds must not make a share larger than 1.
    top = {q.name for q in wanted if q.unit == "share"}
    return [r | {"high": min(r["high"], 1.0)} if r["name"] in top else r for r in rows]


def _describe(arm: Arm, seeds: dict[int, list[dict]], how: Resampling) -> dict[str, Any]:
    """Returns an arm's counts over all benchmarks and seeds, its most promoted tokens, and points of its replies."""
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
    """Returns at most this many points, spread evenly over all benchmarks."""
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
    """Returns promoted tokens, most frequent first; each benchmark counts the tokens that its file keeps."""
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
    means = {
        name: _interval([row[name] for row in members], numbers, how, ends)
        for name, ends in MEANS.items()
    }
    return {
        **{name: members[0][name] for name in ("token", "text", "class")},
        "shifted": sum(numbers),
        "chosen": chosen,
        "share": sum(numbers)
        / chosen,  # Of the positions at which it is the tuned model's first choice.
        "replaces": dict(zip(("token", "text"), replaces.most_common(1)[0][0], strict=True)),
        **means,
    }


def _interval(
    parts: list[dict], numbers: list[int], how: Resampling, ends: tuple[float, float]
) -> dict[str, float | None]:
    mean, error = pooled_mean([p["mean"] for p in parts], [p["error"] for p in parts], numbers)
    # Equal values would have an interval of length 0, which no sample has.
    alike = error is None or error <= ROUNDING * mean
    half = None if alike else quantile(how.confidence) * error
    return {
        "mean": mean,
        "low": None if half is None else max(mean - half, ends[0]),
        "high": None if half is None else min(mean + half, ends[1]),
    }


def _examples(study: Study, arms: list) -> list[dict]:
    """Returns one reply of each arm to one question that all were asked, from the arm's first seed."""
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
    """Returns the values with this name in the units of an arm's first seed."""
    units = next(iter(seeds.values()))
    return {unit["benchmark"]: unit[name] for unit in units if unit[name] is not None}


def _views(study: Study, arms: list) -> list[dict]:
    """Returns a coloured reply of every arm from a benchmark of math and from one of the last group."""
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


def token_label(token: dict[str, Any]) -> str:
    """Returns a token between marks that show where it begins and ends; its id if it has no text."""
    if not token["text"]:
        return f"#{token['token']}"
    text = token["text"].replace("\n", "↵").replace("\t", "⇥").replace("\r", "␍")
    return f"“{text.replace(' ', '␣') if not text.strip() else text}”"


def shifted_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns shares and entropies by group and arm."""
    shifted = summary["shifted"]
    if shifted is None:
        return []
    arms = [row["arm"] for row in shifted["arms"]]
    rows = [row for name in SHOWN for row in _quantity(summary, name, arms)]
    caption = (
        "Shifted tokens in the tuned models' replies: another first choice than the base's, and a Jensen–Shannon "
        f"divergence of at least {shifted['threshold']:g} nats. Shares in percent."
    )
    labels = arm_labels(summary)
    return [Table(caption, tuple(labels[arm] for arm in arms), tuple(rows))] if rows else []


def _quantity(summary: dict, name: str, arms: list[str]) -> list[TableRow]:
    members = [row for row in summary["shifted"]["rows"] if row["name"] == name]
    if name != "shifted" and not any(row["high"] for row in members):
        # Tables of words are of no use where a token is a single character.
        return []
    scale, unit = (100, "% of tokens") if name in SHARES else (1, "nats")
    if name not in ("shifted", *ENTROPIES):
        unit = "% of shifted" if not name.endswith("elsewhere") else "% of the others"
    digits = min(2, decimals([scale * row["mean"] for row in members]))
    rows = []
    for group in (group["name"] for group in summary["groups"]):
        found = [find(members, arm=arm, group=group) for arm in arms]
        if any(found):
            cells = tuple(_cell(row, scale, digits) for row in found)
            rows.append(
                TableRow(group_label(group), cells, f"{(SHARES | ENTROPIES)[name]} ({unit})")
            )
    return rows


def _cell(row: dict | None, scale: float, digits: int) -> Cell:
    """Returns a mean with its interval, in the unit of the column."""
    if row is None:
        return NONE
    ends = [row["low"], row["high"]]
    inside = "" if None in ends else " to ".join(plain_number(scale * end, digits) for end in ends)
    return Cell(plain_number(scale * row["mean"], digits), inside)


def token_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns the tokens that each arm promoted most often."""
    labels = arm_labels(summary)
    found = summary["shifted"]["arms"] if summary["shifted"] else []
    columns = (
        *("Class", "Times", "% of its positions", "Base's probability (%)", "Tuned (%)"),
        *("Base's rank", "Replaces", "Its tuned rank"),
    )
    return [
        Table(
            f"{labels[arm['arm']]}: the tokens promoted most often.",
            columns,
            tuple(_token_row(token) for token in arm["tokens"]),
            notes=(_note(arm),),
        )
        for arm in found
        if arm["tokens"]
    ]


def _token_row(token: dict) -> TableRow:
    each = [_cell(token[name], 100, 1) for name in ("base_probability", "tuned_probability")]
    return TableRow(
        token_label(token),
        (
            Cell(CLASS_LABELS[token["class"]]),
            Cell(str(token["shifted"])),
            Cell(plain_number(100 * token["share"], 0)),
            *each,
            _cell(token["base_rank"], 1, 1),
            Cell(token_label(token["replaces"])),
            _cell(token["replaced_tuned_rank"], 1, 1),
        ),
    )


def _note(arm: dict) -> str:
    return (
        f"{arm['num_shifted']:,} of {arm['num_tokens']:,} reply tokens are shifted. Means over the positions at which "
        "a token was promoted, all tasks and seeds together; no interval where a single reply has it or all are "
        f"alike. {arm['num_other_shifted']:,} positions are of rarer tokens that the files do not list."
    )


def example_tables(summary: dict[str, Any]) -> list[Table]:
    """Returns one reply of each arm to the same question: its length and its shifted tokens."""
    found = summary["shifted"]["examples"] if summary["shifted"] else []
    if not found:
        return []
    labels, first = arm_labels(summary), found[0]
    caption = (
        "One question, every arm's own reply to it: how many tokens are shifted, and those promoted most often. "
        f"{benchmark_label(summary, first['benchmark'])}, question {first['id']}."
    )
    columns = "Tokens", "Shifted", "Promoted, most often first"
    return [Table(caption, columns, tuple(_example(row, labels) for row in found))]


def _example(row: dict, labels: dict[str, str]) -> TableRow:
    shown = [
        token_label(token) + (f" ×{token['times']}" if token["times"] > 1 else "")
        for token in row["tokens"][:EXAMPLES]
    ]
    numbers = Cell(str(row["num_tokens"])), Cell(str(row["num_shifted"]))
    return TableRow(labels[row["arm"]], (*numbers, Cell(", ".join(shown) or "–")))
