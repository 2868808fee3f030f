"""Single replies and tokens that are kept to be shown: a coloured reply, an example, points of a scatter plot."""

from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Bool

from jaxreason.analysis.metric_types import TextMeasurements
from jaxreason.analysis.reading import Reading, running_texts, token_text

# Tokens kept of a reply, tokens kept of an example, and points kept of a benchmark.
VIEW_TOKENS, EXAMPLE_TOKENS, POINTS = 256, 30, 200


def describe_replies(
    measured: TextMeasurements,
    changed: Bool[np.ndarray, "N R"],
    shifted: Bool[np.ndarray, "N R"],
    reading: Reading,
) -> dict[str, Any]:
    """Returns `view`, `example` and `points`.

    `view` is the middle one of the replies with shifts, token by token; `example` has the first reply's shifted tokens;
    `points` are some of the tokens whose rank changed.
    """
    return {
        "view": _view(measured, changed, shifted, reading),
        "example": _example(measured, shifted, reading),
        **_points(measured),
    }


def _middle(shifted: Bool[np.ndarray, "N R"]) -> int | None:
    """Returns the lower median of the replies with shifts, ordered by their number of shifts and then by text."""
    numbers = shifted.sum(1)
    having = [row for row in np.argsort(numbers, kind="stable") if numbers[row]]
    return int(having[(len(having) - 1) // 2]) if having else None


def _about(
    row: int, measured: TextMeasurements, shifted: np.ndarray, reading: Reading
) -> dict[str, Any]:
    return {
        "id": reading.ids[row] if reading.ids else None,
        "num_tokens": int(measured.mask[row].sum()),
        "num_shifted": int(shifted[row].sum()),
    }


def _view(measured, changed, shifted, reading) -> dict[str, Any] | None:
    """Returns the view; None if nothing is shifted, or if there is no tokenizer."""
    row = _middle(shifted)
    if row is None or reading.token_bytes is None:
        return None
    about = _about(row, measured, shifted, reading)
    length = min(about["num_tokens"], VIEW_TOKENS)
    tokens = {name: values[row, :length] for name, values in measured.tokens.items()}
    marked = np.flatnonzero(
        changed[row, :length] | (tokens["js"] >= reading.shift_threshold)
    ).tolist()
    return about | {
        "texts": running_texts(tokens["token"], reading.token_bytes),
        "js": [round(float(x), 3) for x in tokens["js"]],
        "marks": [_mark(at, tokens, bool(shifted[row, at]), reading) for at in marked],
    }


def _mark(at: int, tokens: dict[str, np.ndarray], shifted: bool, reading: Reading) -> dict:
    """Returns a position where the choice changed or JS reaches the threshold: choices, ranks of the written token."""

    def choice(model):
        each = (tokens[f"{model}_top_{of}_logprob"][at] for of in ("base", "tuned"))
        return {
            "text": token_text(int(tokens[f"{model}_top"][at]), reading.token_bytes),
            "probabilities": [float(f"{np.exp(x):.3g}") for x in each],  # Under base and tuned.
        }

    ranks = [int(tokens[f"{model}_rank"][at]) for model in ("base", "tuned")]
    return {"at": at, "shifted": shifted, "base": choice("base"), "tuned": choice("tuned")} | {
        "ranks": ranks
    }


def _example(measured: TextMeasurements, shifted: np.ndarray, reading: Reading) -> dict[str, Any]:
    """Returns the example of the first text; all arms that were asked alike have the same texts in the same order."""
    times = Counter(measured.tokens["tuned_top"][0][shifted[0]].tolist())
    kept = times.most_common(EXAMPLE_TOKENS)
    tokens = [
        {"token": token, "text": token_text(token, reading.token_bytes), "times": number}
        for token, number in kept
    ]
    return _about(0, measured, shifted, reading) | {"tokens": tokens}


def _points(measured: TextMeasurements) -> dict[str, Any]:
    """Returns [position from 1, rank under the base, rank under the tuned model] of written tokens whose ranks differ.

    Only every k-th one is kept, reply after reply, with the smallest k that leaves at most POINTS.
    """
    ranks = measured.tokens["base_rank"], measured.tokens["tuned_rank"]
    rows, columns = np.nonzero(measured.mask & (ranks[0] != ranks[1]))
    step = -(-len(rows) // POINTS) or 1
    kept = zip(rows[::step], columns[::step], strict=True)
    points = [[int(c) + 1, *(int(x[r, c]) for x in ranks)] for r, c in kept]
    return {"num_rank_changed": len(rows), "points": points}
