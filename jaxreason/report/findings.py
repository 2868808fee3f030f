"""The findings and the limits of a study in words, made only from the numbers of the summary."""

from typing import Any

from jaxreason.report.group_drift import HEADLINE_KL, rows_of
from jaxreason.report.scoring_variants import two_ways
from jaxreason.report.training_runs import questions_limits
from jaxreason.report.wording import (
    PAPER,
    THINKING,
    arm_labels,
    arm_name,
    base_names,
    count_word,
    crowded,
    decoding_label,
    group_label,
    join_words,
    plain_number,
    signed,
    significant,
)
from jaxreason.results.groups import MATH, REST

OF_PAPER = "Scores, changes and their verdicts are those of the paper's way of asking and scoring, mistakes included."
WORDS = {"up": "rose with", "down": "fell with", "unclear": "did not clearly change with"}


def findings(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Returns topics with a few sentences each; every claim follows from an interval."""
    if not summary["differences"]:
        text = "Nothing can be said yet: no arm has been evaluated together with the base."
        return [{"topic": "", "text": text}]
    found = [{"topic": "", "text": _design(summary)}]
    for decoding in summary["decodings"]:
        sentences = [_group_sentence(summary, decoding, g) for g in _groups(summary, decoding)]
        if sentences:
            text = " ".join(sentences + _trade(summary, decoding))
            found.append({"topic": decoding_label(decoding), "text": text})
    return found + two_ways(summary) + _drift(summary)


def _groups(summary: dict, decoding: str) -> list[str]:
    rows = (r for r in summary["differences"] if r["decoding"] == decoding and not r["benchmark"])
    known = dict.fromkeys(r["group"] for r in rows if r["mean"] is not None)
    return [name for name in known if name != REST]


def _design(summary: dict) -> str:
    counts: dict[str, set[int]] = {}
    for row in summary["scores"]:
        if (
            row["model"] in base_names(summary)
            and row["benchmark"] is None
            and row["group"] != REST
        ):
            counts.setdefault(row["group"], set()).add(row["num_items"])
    asked = [
        f"{'up to ' if len(n) > 1 else ''}{max(n):,} on {group_label(g).lower()}"
        for g, n in counts.items()
    ]
    arms = len({row["arm"] for row in summary["differences"]})
    what = "One arm was" if arms == 1 else f"{count_word(arms).capitalize()} arms were"
    base = "the base" if len(summary["bases"]) == 1 else "the base of each"
    text = f"{what} compared with {base} on the same questions: {join_words(asked)}."
    if summary["variant"] == PAPER:
        text += f" {OF_PAPER}"
    return text


def _group_sentence(summary: dict, decoding: str, group: str) -> str:
    wanted = (decoding, group, None)
    rows = [
        r
        for r in summary["differences"]
        if (r["decoding"], r["group"], r["benchmark"]) == wanted and r["mean"] is not None
    ]
    parts = []
    for verdict, words in WORDS.items():
        members = [r for r in rows if r["verdict"] == verdict]
        named = [f"{arm_name(summary, r['arm'])} ({signed(r['mean'])})" for r in members]
        if crowded(summary) and len(named) > 1:
            ends = (signed(end(r["mean"] for r in members)) for end in (min, max))
            named = [f"{len(named)} arms ({' to '.join(ends)})"]
        parts += [f"{words} {join_words(named)}"] if named else []
    return f"{group_label(group)} {'; it '.join(parts)}."


def _trade(summary: dict, decoding: str) -> list[str]:
    """Says how pairs of arms that both clearly gained math differ on the rest."""
    wanted = (decoding, MATH, None, "up")
    gained = {
        r["arm"]
        for r in summary["differences"]
        if (r["decoding"], r["group"], r["benchmark"], r["verdict"]) == wanted
    }
    rows = [r for r in summary["arm_differences"] if r["decoding"] == decoding]
    rows = [r for r in rows if r["group"] == REST and {r["arm"], r["against"]} <= gained]
    clear = [r for r in rows if r["verdict"] != "unclear"]
    if crowded(summary) and rows:
        text = f"{len(clear)} of the {len(rows)} pairs of arms that gained math clearly differ."
        return [f"On the rest, {text}"]
    if clear:
        pairs = join_words([_pair(summary, row) for row in clear])
        return [f"On the rest, among the arms that gained math, {pairs}."]
    if rows:
        return ["Among the arms that gained math, no two clearly differ on the rest."]
    return []


def _pair(summary: dict, row: dict) -> str:
    first, second = row["arm"], row["against"]
    if row["mean"] < 0:
        first, second = second, first
    above, below = arm_name(summary, first), arm_name(summary, second)
    return f"{above} ended {plain_number(abs(row['mean']))} points above {below}"


def _drift(summary: dict) -> list[dict[str, str]]:
    rows = [r for r in rows_of(summary["drift"], HEADLINE_KL) if r["group"] == MATH]
    if not rows:
        return []
    rows = sorted(rows, key=lambda r: r["mean"])
    parts = [f"{arm_name(summary, r['arm'])} {significant(r['mean'])}" for r in rows]
    if crowded(summary) and len(parts) > 2:
        parts = [f"lowest {parts[0]}", f"highest {parts[-1]}"]
    text = f"In nats per token of the base's own replies to math: {join_words(parts)}."
    return [{"topic": "KL from the base", "text": text}]


def _asked(summary: dict) -> list[str]:
    """Returns each way of asking, with the models that were asked in this way."""
    labels, members = arm_labels(summary), {}
    for row in summary["asked"]:
        way = f"{row['prompt_format']} format, thinking {THINKING[row['thinking']]}"
        members.setdefault(way, []).append(labels[row["model"]])
    if crowded(summary):
        members = {w: [f"{len(n)} models"] if len(n) > 1 else n for w, n in members.items()}
    return [f"{join_words(names)}: {way}" for way, names in members.items()]


def _lengths(summary: dict) -> list[str]:
    """Says which models had a lower limit of tokens than others."""
    lengths = {row["model"]: row["max_length"] for row in summary["asked"] if "max_length" in row}
    if len(set(lengths.values())) < 2:
        return []
    labels, most = arm_labels(summary), max(lengths.values())
    short: dict[int, list[str]] = {}
    for model, length in lengths.items():
        if length < most:
            short.setdefault(length, []).append(labels[model])
    said = [f"{join_words(names)} had {length:,} tokens" for length, names in short.items()]
    return [
        f"Not all models have positions for {most:,} tokens: {join_words(said)}, prompt and reply together."
    ]


def limits(summary: dict[str, Any]) -> list[str]:
    """Returns the limits of the study's design on its conclusions."""
    percent = f"{100 * summary['confidence']:g}\u2009%"
    seeds = sorted(
        {len(arm["seeds_evaluated"]) for arm in summary["arms"] if arm["seeds_evaluated"]}
    )
    found = []
    if seeds and seeds[-1] == 1:
        found.append(
            f"One run an arm: the {percent} intervals cover the choice of questions only. Another seed may differ by "
            "more than they show, so differences between arms are only about these runs."
        )
    elif seeds:
        number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        found.append(
            f"With {number} seeds per arm, the spread between seeds is only roughly known: the {percent} intervals "
            "resample questions and seeds, and are likely too narrow."
        )
    given = [arm["method"] == "given" for arm in summary["arms"]]
    if any(given):
        found.append(
            "Some arms are existing checkpoints: how they were trained, and on what, was not "
            "controlled here."
        )
    if summary["shared_base"] and not all(given):
        found.append(
            "All runs here start from the same base: seeds vary the training of the twins only, "
            "and nothing here says how another base would behave."
        )
    if len({(row["prompt_format"], row["thinking"]) for row in summary["asked"]}) > 1:
        found.append(
            f"The models were not all asked alike ({'; '.join(_asked(summary))}), so a part of the differences between "
            "them may come from how they were asked."
        )
    found += _lengths(summary)
    found.append(
        "Intervals and p-values are not corrected for the number of comparisons: of many comparisons without a true "
        f"change, about {100 * (1 - summary['confidence']):g}\u2009% would still exclude zero. The q-values are "
        "corrected, and changes that remain clear by them are marked (†)."
    )
    found += questions_limits(summary)
    return found + list(summary["recipe_limits"])
