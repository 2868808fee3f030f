"""Finds where two models would write different tokens, which ones, and how surprising each is to the base.

A position is *shifted* if the two models' most likely tokens differ and the JS divergence of their distributions is at
least a threshold, so a mere swap of two nearly equal tokens does not count. The tuned model's most likely token there
is the *promoted* one, the base's the *replaced* one. docs/drift.md has the definitions and their sources.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxreason.analysis.metric_types import Prepared, TextMeasurements
from jaxreason.analysis.reading import SHIFT_THRESHOLD, Reading, token_text
from jaxreason.analysis.shifted_replies import describe_replies
from jaxreason.analysis.token_table import token_table
from jaxreason.analysis.word_classes import LOGICAL, WORDS, word_class

# Number of the base's most likely tokens that are searched for the promoted one (Akgul et al. 2026).
TOP = 5
TENTHS = 10
POSITION_EDGES = tuple(4**power for power in range(10))  # Reply positions 1, 2-4, 5-16, 17-64, ...
ABOUT = {"word_classes": {LOGICAL: WORDS}}  # Written to the file.


class Shifts(NamedTuple):
    """Marks the reply tokens that are shifted; all False after a reply's end."""

    changed: Bool[np.ndarray, "N R"]  # The most likely tokens differ.
    above: Bool[np.ndarray, "N R"]  # JS is at least the threshold.
    shifted: Bool[np.ndarray, "N R"]  # Both.


def find_shifts(measured: TextMeasurements, threshold: float) -> Shifts:
    """Returns the shifted positions of the replies."""
    tokens, mask = measured.tokens, measured.mask
    changed = mask & (tokens["base_top"] != tokens["tuned_top"])
    above = mask & (tokens["js"] >= threshold)
    return Shifts(changed, above, changed & above)


def shifted_tokens(
    measured: TextMeasurements, shift_threshold: float = SHIFT_THRESHOLD
) -> Prepared:
    """Computes the share of shifted positions, how they differ from others, and where in a reply they are.

    Values about shifted positions are undefined (NaN) on texts that have none. Details: the tokens, replies.

    Args:
      measured: the texts as both models read them.
      shift_threshold: the JS divergence, in nats, from which on a token counts as shifted.
    """
    reading = (measured.reading or Reading())._replace(shift_threshold=shift_threshold)
    shifts = find_shifts(measured, reading.shift_threshold)
    logical = None if reading.token_bytes is None else _is_logical(measured, reading)
    ratios = _ratios(measured, shifts, logical)
    sums = {name: (top.sum(1), bottom.sum(1)) for name, (top, bottom) in ratios.items()}
    places = _places(measured.mask)
    sums |= {
        name: ((shifts.shifted & where).sum(1), where.sum(1)) for name, where in places.items()
    }

    def statistic(texts):
        found = {name: _ratio(top[texts], bottom[texts]) for name, (top, bottom) in sums.items()}
        if not shifts.shifted[texts].any():  # Nothing to compare with.
            found |= {name: float("nan") for name in found if name.endswith(".elsewhere")}
        return found

    return Prepared(statistic, _details(measured, shifts, reading))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> float:
    return float(top.sum(dtype=float) / bottom.sum()) if bottom.sum() else float("nan")


def _ratios(
    measured: TextMeasurements, shifts: Shifts, logical: Bool[np.ndarray, "N R"] | None
) -> dict:
    """Returns name -> each position's value that is added to the sum, and whether the position counts."""
    tokens, mask, shifted = measured.tokens, measured.mask, shifts.shifted
    elsewhere = mask & ~shifted
    found = {
        "top_changed": (shifts.changed, mask),
        "js_above": (shifts.above, mask),
        "shifted": (shifted, mask),
        "promoted_in_top5": (shifted & (tokens["tuned_top_base_rank"] <= TOP), shifted),
    }
    split = {"base_entropy": tokens["base_entropy"]}
    split |= {} if logical is None else {LOGICAL: logical}
    for name, values in split.items():
        found[f"{name}.shifted"] = values * shifted, shifted
        found[f"{name}.elsewhere"] = values * elsewhere, elsewhere
    return found


def _is_logical(measured: TextMeasurements, reading: Reading) -> Bool[np.ndarray, "N R"]:
    """Returns whether the tuned model's most likely token is a word of logical structure."""
    ids, places = np.unique(measured.tokens["tuned_top"], return_inverse=True)
    classes = [word_class(token_text(int(token), reading.token_bytes)) for token in ids]
    return (np.array(classes) == LOGICAL)[places].reshape(measured.mask.shape)


def _places(mask: Bool[np.ndarray, "N R"]) -> dict[str, Bool[np.ndarray, "N R"]]:
    """Returns masks of the tokens in each tenth of the replies, and in each range of positions that replies reach."""
    position = np.arange(mask.shape[1])
    tenth = TENTHS * position // np.maximum(mask.sum(1, keepdims=True), 1)
    found = {f"shifted.tenth_{n + 1}": mask & (tenth == n) for n in range(TENTHS)}
    start = 0
    for edge in POSITION_EDGES:
        inside = mask & (start <= position) & (position < edge)
        found[f"shifted.from_{start + 1}"] = inside
        start = edge
    return {name: where for name, where in found.items() if where.any()}


def _details(measured: TextMeasurements, shifts: Shifts, reading: Reading) -> dict:
    counts = {"num_tokens": measured.mask, "num_changed": shifts.changed}
    counts |= {"num_above": shifts.above, "num_shifted": shifts.shifted}
    return {
        **{name: int(where.sum()) for name, where in counts.items()},
        **token_table(measured, shifts.shifted, reading),
        **describe_replies(measured, shifts.changed, shifts.shifted, reading),
    }
