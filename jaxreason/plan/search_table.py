"""Shows a search as text and as plain values."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxreason.plan.search import RULE_MARGIN, Candidate, Found
from jaxreason.plan.slices import GIB, Slice
from jaxreason.plan.table import aligned

ASSUMPTIONS = (
    "Ways are ranked by time on paper with nothing overlapped (as `plan` gives it), of a token of full rows; then they "
    "are compiled from the fastest on, and the first that fits is taken.",
    "Where layers are scanned, what they keep, their weights and their gradients are copied into stacked arrays and "
    "out of them (GPUs; a TPU's compiler does it within the products, so there layers stay scanned).",
    f"Where nothing can be compiled here, the memory is a rule's, and {RULE_MARGIN:.0%} of the card may be filled.",
)


def format_search(found: Sequence[Found], slice_: Slice) -> str:
    """Returns the ways of every stage, the settings of the best one, and the assumptions."""
    lines = [slice_.described]
    for stage in found:
        lines += ["", f"{stage.stage}: {_verdict(stage, slice_)}", *_ways(stage)]
    return "\n".join([*lines, "", "Assumptions", *(f"  - {line}" for line in ASSUMPTIONS)])


def candidate_settings(found: Found) -> str:
    """Returns the flags that set the best way; "" if none fits."""
    if found.best is None:
        return ""
    way = found.best.way
    return (
        f"--config.model.remat={way.remat} --config.model.unroll={way.unroll} "
        f"--config.{found.stage}.micro_batch_rows={way.rows}"
    )


def to_json(found: Sequence[Found], slice_: Slice) -> dict[str, Any]:
    """Returns everything that was considered."""
    stages = [
        dataclasses.asdict(stage)
        | {
            "best": stage.best and dataclasses.asdict(stage.best),
            "settings": candidate_settings(stage),
        }
        for stage in found
    ]
    return {"slice": dataclasses.asdict(slice_), "hbm": slice_.kind.hbm, "stages": stages}


def _verdict(found: Found, slice_: Slice) -> str:
    if found.best is None:
        return f"no way fits {slice_.kind.hbm / GIB:.2f} GiB; a larger slice, or shorter rows"
    now = next((c for c in found.candidates if c.way == found.now), None)
    gain = ""
    if now is not None:
        times = found.best.tokens_per_second / now.tokens_per_second
        gain = f" ({times:.2f} times as fast as the recipe's on paper)"
    return f"{candidate_settings(found)}{gain}"


def _ways(found: Found) -> list[str]:
    rows = [_row(c, found) for c in found.candidates if _is_shown(c, found)]
    header = ("remat", "unroll", "rows at a time", "tokens/s", "peak GiB", "", "fits", "")
    return aligned(header, rows)


def _is_shown(candidate: Candidate, found: Found) -> bool:
    """Whether a row is shown: compiled ones, the recipe's, the best, and for other policies
    the fewest rows that fit.
    """
    if candidate.compiled or candidate == found.best or candidate.way == found.now:
        return True
    kind = candidate.way.remat, candidate.way.unroll
    alike = [c.way.rows for c in found.candidates if (c.way.remat, c.way.unroll) == kind]
    return candidate.way.rows == min(alike)


def _row(candidate: Candidate, found: Found) -> list[str]:
    way = candidate.way
    fits = {True: "yes", False: "no", None: "not looked at"}[candidate.fits]
    notes = ["best"] * (candidate == found.best) + ["recipe"] * (way == found.now)
    return [
        way.remat,
        str(way.unroll),
        str(way.rows),
        f"{candidate.tokens_per_second:,.0f}",
        f"{candidate.total / GIB:.2f}",
        "compiled" if candidate.compiled else "by rule",
        fits,
        ", ".join(notes),
    ]
