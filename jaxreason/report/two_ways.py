"""Where the robust and the paper's way of measuring disagree, in words."""

from typing import Any

from jaxreason.report.wording import MANY, arm_labels, decoding_label, listed, signed

SAID = {"up": "up", "down": "down", "unclear": "not clear"}


def two_ways(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Tasks whose two scores differ by more than their intervals allow, the largest gap first; and changes from the
    base that have another verdict. Nothing where no task was measured in both ways.
    """
    gaps = summary["variant_gaps"]
    if not gaps:
        return []
    number = len({gap["benchmark"] for gap in gaps})
    tasks = "One task was" if number == 1 else f"{number} tasks were"
    parts = [f"{tasks} measured both robustly and in the paper's way.", _gaps(summary)]
    return [{"topic": "Two ways of measuring", "text": " ".join(parts + _verdicts(summary))}]


def _gaps(summary: dict) -> str:
    largest: dict[str, dict] = {}
    for gap in sorted(summary["variant_gaps"], key=lambda gap: -abs(gap["mean"])):
        if gap["verdict"] != "unclear":
            largest.setdefault(gap["benchmark"], gap)
    if not largest:
        return "On none of them do the two scores differ by more than their intervals allow."
    named = [
        f"{_task(summary, gap)} ({signed(gap['mean'])} for {_model(summary, gap, 'model')})"
        for gap in largest.values()
    ]
    return (
        f"On {len(largest)} of them the two scores differ by more than their intervals allow; paper minus robust, "
        f"where it is largest: {listed(_first(named))}."
    )


def _verdicts(summary: dict) -> list[str]:
    rows = summary["variant_verdicts"]
    other = [row for row in rows if row["robust"] != row["paper"]]
    if not rows:
        return []
    if not other:
        return ["Every change from the base on them has the same verdict in both ways."]
    named = [
        f"{_task(summary, row)} for {_model(summary, row, 'arm')} ({SAID[row['robust']]} robustly, "
        f"{SAID[row['paper']]} in the paper's way)"
        for row in sorted(other, key=lambda row: "unclear" in (row["robust"], row["paper"]))
    ]
    return [
        f"Of the {len(rows)} changes from the base on them, {len(other)} have another verdict in the paper's way: "
        f"{listed(_first(named))}."
    ]


def _first(named: list[str]) -> list[str]:
    more = len(named) - MANY
    return [*named[:MANY], f"{more} more"] if more > 0 else named


def _task(summary: dict, row: dict) -> str:
    return summary["labels"].get(row["benchmark"], row["benchmark"])


def _model(summary: dict, row: dict, whose: str) -> str:
    name, label = arm_labels(summary)[row[whose]], decoding_label(row["decoding"])
    return f"{name}, {label[0].lower()}{label[1:]}" if len(summary["decodings"]) > 1 else name
