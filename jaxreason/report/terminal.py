"""The comparison as a text table, for the end of a study in a terminal."""

from typing import Any

from jaxreason.report.drift_rows import HEADLINE_KL, rows_of
from jaxreason.report.files import BASE, MATH, REST
from jaxreason.report.findings import arm_labels, group_label, plain, signed, significant

TRANSFER_MODE = "v2_pooled"


def format_summary(summary: dict[str, Any]) -> str:
    """A line a model for every decoding: score of the base, differences with intervals, index and
    KL on math.
    """
    blocks = [_block(summary, decoding) for decoding in summary["decodings"]]
    notes = [f"missing: {line}" for line in summary["missing"]]
    return "\n\n".join([block for block in blocks if block] + (["\n".join(notes)] if notes else []))


def _block(summary: dict, decoding: str) -> str:
    rows = [r for r in summary["scores"] if r["decoding"] == decoding and r["benchmark"] is None]
    groups = [g for g in dict.fromkeys(r["group"] for r in rows) if g != REST]
    if not groups:
        return ""
    indexed = [g for g in groups if g != MATH]
    header = [
        decoding,
        *(group_label(g) for g in groups),
        *(f"TI {group_label(g)}" for g in indexed),
        "KL math",
    ]
    lines = [header]
    for model, label in arm_labels(summary).items():
        scores = {r["group"]: r for r in rows if r["model"] == model}
        if scores:
            cells = [_score(summary, decoding, g, model, scores.get(g)) for g in groups]
            lines.append(
                [
                    label,
                    *cells,
                    *(_index(summary, decoding, g, model) for g in indexed),
                    _kl(summary, model),
                ]
            )
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    lines.insert(1, ["─" * width for width in widths])
    text = [
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    ]
    percent = f"{100 * summary['confidence']:g}"
    return "\n".join(
        [
            *text,
            f"(base: score; arms: score, difference from the base with its {percent} % interval)",
        ]
    )


def _score(summary: dict, decoding: str, group: str, model: str, row: dict | None) -> str:
    if row is None or row["mean"] is None:
        return "–"
    wanted = (decoding, group, None, model)
    match = [
        r
        for r in summary["differences"]
        if (r["decoding"], r["group"], r["benchmark"], r["arm"]) == wanted
    ]
    if not match:
        return plain(row["mean"])
    change = match[0]
    ends = f"[{signed(change['low'])}, {signed(change['high'])}]"
    return f"{plain(row['mean'])} {signed(change['mean'])} {ends}"


def _index(summary: dict, decoding: str, group: str, model: str) -> str:
    rows = [
        r
        for r in summary["transfer"]
        if (r["decoding"], r["group"], r["arm"], r["mode"])
        == (decoding, group, model, TRANSFER_MODE)
    ]
    if model == BASE or not rows:
        return ""
    row = next((r for r in rows if r["seed"] == "all"), rows[0])
    return "undefined" if row["ti"] is None else plain(row["ti"])


def _kl(summary: dict, model: str) -> str:
    rows = rows_of(summary["drift"], HEADLINE_KL)
    found = [r["mean"] for r in rows if (r["group"], r["arm"]) == (MATH, model)]
    return significant(found[0]) if found else ""
