"""The comparison as a text table, printed in the terminal at the end of a study."""

from typing import Any

from jaxreason.report.group_drift import HEADLINE_KL, rows_of
from jaxreason.report.transfer_tables import one_mode, pooled_rows
from jaxreason.report.wording import (
    ROBUST,
    WAYS,
    arm_labels,
    group_label,
    plain_number,
    signed,
    significant,
)
from jaxreason.results.groups import MATH, REST


def format_summary(summary: dict[str, Any]) -> str:
    """Returns one line per model and decoding: score of the base, differences with intervals, index and KL on math."""
    blocks = [_block(summary, decoding) for decoding in summary["decodings"]]
    notes = [f"missing: {line}" for line in summary["missing"]]
    return "\n\n".join([block for block in blocks if block] + (["\n".join(notes)] if notes else []))


def _block(summary: dict, decoding: str) -> str:
    rows = [r for r in summary["scores"] if r["decoding"] == decoding and r["benchmark"] is None]
    groups = [g for g in dict.fromkeys(r["group"] for r in rows) if g != REST]
    if not groups:
        return ""
    indexed = [g for g in groups if g != MATH]
    header = [decoding, *map(group_label, groups), *("TI " + g.replace("_", "-") for g in indexed)]
    lines = [[*header, "KL math"]]
    for model, label in arm_labels(summary).items():
        scores = {r["group"]: r for r in rows if r["model"] == model}
        if scores:
            cells = [_score(summary, decoding, g, model, scores.get(g)) for g in groups]
            first, second = zip(*cells, strict=True)
            index = [_index(summary, decoding, g, model) for g in indexed]
            lines.append([label, *first, *index, _kl(summary, model)])
            lines += [["", *second, *[""] * (len(indexed) + 1)]] if any(second) else []
    return "\n".join([*_aligned(lines), _legend(summary)])


def _aligned(lines: list[list[str]]) -> list[str]:
    """Returns columns of equal width, numbers right-aligned, with a rule under the header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [lines[0], ["─" * width for width in widths], *lines[1:]]
    texts = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        texts.append("  ".join([line[0].ljust(widths[0]), *cells]).rstrip())
    return texts


def _legend(summary: dict) -> str:
    percent = f"{100 * summary['confidence']:g}"
    text = f"score, difference from the base, and below it the difference's {percent} % interval"
    index, variant = summary["transfer_variant"], summary["variant"]
    notes = [f"tasks measured {WAYS[variant]}"] if variant != ROBUST else []
    notes += [f"TI of tasks measured {WAYS[index]}"] if index not in (None, variant) else []
    return "; ".join([text, *notes])


def _score(
    summary: dict, decoding: str, group: str, model: str, row: dict | None
) -> tuple[str, str]:
    if row is None or row["mean"] is None:
        return "–", ""
    wanted = (decoding, group, None, model)
    match = [
        r
        for r in summary["differences"]
        if (r["decoding"], r["group"], r["benchmark"], r["arm"]) == wanted
    ]
    if not match or match[0]["mean"] is None:
        return plain_number(row["mean"]), ""
    change = match[0]
    ends = f"[{signed(change['low'])}, {signed(change['high'])}]"
    return f"{plain_number(row['mean'])} {signed(change['mean']):>6}", ends


def _index(summary: dict, decoding: str, group: str, model: str) -> str:
    rows = [
        r
        for r in pooled_rows(summary["transfer"])
        if (r["decoding"], r["group"], r["arm"], r["mode"])
        == (decoding, group, model, one_mode(summary["transfer"]))
    ]
    if not rows:
        return ""
    return "undefined" if rows[0]["ti"] is None else plain_number(rows[0]["ti"])


def _kl(summary: dict, model: str) -> str:
    rows = rows_of(summary["drift"], HEADLINE_KL)
    found = [r["mean"] for r in rows if (r["group"], r["arm"]) == (MATH, model)]
    return significant(found[0]) if found else ""
