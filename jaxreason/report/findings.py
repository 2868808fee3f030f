"""What was found and what limits it, in words: made from the numbers of the summary and nothing
else.
"""

from typing import Any

from jaxreason.report.drift_rows import HEADLINE_KL, rows_of
from jaxreason.report.files import BASE, GROUP_LABELS, MATH, REST

MINUS = "−"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign; what rounds to zero has none."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def plain(value: float, digits: int = 1) -> str:
    """A number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def significant(value: float) -> str:
    """About three significant digits, never in exponents."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    if 0 < size < 0.01:
        digits = 5 if size < 0.001 else 4
    return plain(value, digits)


def group_label(name: str) -> str:
    """What a group is called."""
    return "The rest" if name == REST else GROUP_LABELS.get(name, name)


def arm_labels(summary: dict[str, Any]) -> dict[str, str]:
    """Label of the base and of every arm."""
    return {BASE: "Base"} | {arm["name"]: arm["label"] for arm in summary["arms"]}


def listed(parts: list[str]) -> str:
    """`a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def findings(summary: dict[str, Any]) -> list[str]:
    """A sentence or two for each decoding and group, then drift; every claim is what an interval
    says.
    """
    if not summary["differences"]:
        return ["Nothing can be said yet: no arm has been evaluated together with the base."]
    found = [_design(summary)]
    for decoding in summary["decodings"]:
        sentences = [_group_sentence(summary, decoding, g) for g in _groups(summary, decoding)]
        if sentences:
            found.append(f"{decoding_label(decoding)}: " + " ".join(sentences))
    return found + _trade(summary) + _drift(summary)


def decoding_label(name: str) -> str:
    """What a decoding is called at the start of a sentence."""
    known = {
        "greedy": "Greedy decoding",
        "t1": "Temperature 1",
        "sample": "Sampling",
        "sampled": "Sampling",
    }
    return known.get(name, f"Decoding “{name}”")


def _groups(summary: dict, decoding: str) -> list[str]:
    rows = summary["differences"]
    found = dict.fromkeys(
        r["group"] for r in rows if r["decoding"] == decoding and not r["benchmark"]
    )
    return [name for name in found if name != REST]


def _design(summary: dict) -> str:
    counts = {
        r["group"]: r["num_items"]
        for r in summary["scores"]
        if not r["benchmark"] and r["model"] == BASE
    }
    counts.pop(REST, None)
    questions = listed([f"{n} on {group_label(g).lower()}" for g, n in counts.items()])
    models = len(summary["arms"])
    what = "one model was" if models == 1 else f"{models} models were"
    return f"{what.capitalize()} compared with the base on the same questions: {questions}."


def _group_sentence(summary: dict, decoding: str, group: str) -> str:
    labels = arm_labels(summary)
    rows = [
        r
        for r in summary["differences"]
        if (r["decoding"], r["group"], r["benchmark"]) == (decoding, group, None)
    ]
    parts = []
    for verdict, word in (
        ("up", "rose with"),
        ("down", "fell with"),
        ("unclear", "did not clearly change with"),
    ):
        members = [
            f"{labels[r['arm']]} ({signed(r['mean'])})" for r in rows if r["verdict"] == verdict
        ]
        parts += [f"{word} {listed(members)}"] if members else []
    return f"{group_label(group)} {'; it '.join(parts)}."


def _trade(summary: dict) -> list[str]:
    """Pairs of arms that both clearly gained math: how what they kept of the rest differs."""
    labels, found = arm_labels(summary), []
    for decoding in summary["decodings"]:
        gained = {
            r["arm"]
            for r in summary["differences"]
            if (r["decoding"], r["group"], r["benchmark"], r["verdict"])
            == (decoding, MATH, None, "up")
        }
        rows = [
            r
            for r in summary["arm_differences"]
            if r["decoding"] == decoding
            and r["group"] == REST
            and {r["arm"], r["against"]} <= gained
        ]
        clear = [r for r in rows if r["low"] > 0 or r["high"] < 0]
        sentences = [_pair(r, labels) for r in clear]
        if sentences:
            where = decoding_label(decoding).lower()
            found.append(
                f"On the rest, among arms that clearly gained math ({where}), {listed(sentences)}."
            )
        elif len(gained) > 1:
            names = listed(
                [labels[arm["name"]] for arm in summary["arms"] if arm["name"] in gained]
            )
            found.append(
                f"With {decoding_label(decoding).lower()}, {names} all clearly gained math, and "
                "no two of them clearly differ in what became of the rest."
            )
    return found


def _pair(row: dict, labels: dict[str, str]) -> str:
    first, second = row["arm"], row["against"]
    if row["mean"] < 0:
        first, second = second, first
    return f"{labels[first]} ended {plain(abs(row['mean']))} points above {labels[second]}"


def _drift(summary: dict) -> list[str]:
    labels = arm_labels(summary)
    rows = [r for r in rows_of(summary["drift"], HEADLINE_KL) if r["group"] == MATH]
    if not rows:
        return []
    rows = sorted(rows, key=lambda r: r["mean"])
    parts = [f"{labels[r['arm']]} {significant(r['mean'])}" for r in rows]
    return [
        f"KL from the base on math, in nats per token of the base's own replies: {listed(parts)}."
    ]


def limits(summary: dict[str, Any]) -> list[str]:
    """How far the design limits what may be concluded."""
    percent = f"{100 * summary['confidence']:g}\u2009%"
    seeds = sorted(
        {len(arm["seeds_evaluated"]) for arm in summary["arms"] if arm["seeds_evaluated"]}
    )
    found = []
    if seeds and seeds[-1] == 1:
        found.append(
            f"One training run an arm: the {percent} intervals cover the choice of questions "
            "only. Another seed may differ by more than they show, so differences between arms "
            "are those of these runs."
        )
    elif seeds:
        number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        found.append(
            f"{number} seeds an arm show a spread; they do not pin it down. The {percent} "
            "intervals resample questions and seeds, and with so few seeds they are likely too "
            "narrow."
        )
    if summary["shared_base"]:
        found.append(
            "All runs start from the same base: seeds vary the training of the twins only, and "
            "nothing here says how another base would behave."
        )
    found.append(
        "Intervals are not corrected for the number of comparisons: of many that show no true "
        f"change, about {100 * (1 - summary['confidence']):g}\u2009% would still leave out zero."
    )
    return found + list(summary["recipe_limits"])
