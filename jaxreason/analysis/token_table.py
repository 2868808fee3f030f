"""The table of promoted tokens: how often each was promoted, how likely both models find it, what it replaces."""

from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxreason.analysis.metric_types import TextMeasurements
from jaxreason.analysis.reading import Reading, TokenBytes, token_text
from jaxreason.analysis.word_classes import CONTENT, LOGICAL, SYMBOL, word_class
from jaxreason.results.clusters import ratio_error

TOKENS_KEPT = 50  # Of a benchmark's promoted tokens, the most frequent ones.


def token_table(
    measured: TextMeasurements, shifted: Bool[np.ndarray, "N R"], reading: Reading
) -> dict[str, Any]:
    """Returns `tokens`, one row per promoted token, most frequent first; how many more there are; counts of each class.

    Args:
      measured: both models' values for the replies.
      shifted: the positions that count.
      reading: with clusters of the texts, for errors, and a tokenizer; without one texts and classes are None.
    """
    token_bytes = reading.token_bytes
    tops = measured.tokens["tuned_top"]
    promoted, everywhere = tops[shifted], tops[measured.mask]
    times, chosen = Counter(promoted.tolist()), Counter(everywhere.tolist())
    order = sorted(times, key=lambda token: (-times[token], token))
    kept = order[:TOKENS_KEPT]
    values = _values(measured)
    rows = [
        {
            "token": token,
            "text": token_text(token, token_bytes),
            "class": _class(token, token_bytes),
        }
        | {"shifted": times[token], "chosen": chosen[token]}
        | _describe(token, measured, shifted, values, reading)
        for token in kept
    ]
    return {
        "tokens": rows,
        "num_other_tokens": len(order) - len(kept),
        "num_other_shifted": sum(times[token] for token in order[TOKENS_KEPT:]),
        "classes": _classes(times, chosen, token_bytes),
    }


def _values(measured: TextMeasurements) -> dict[str, Float[np.ndarray, "N R"]]:
    tokens = measured.tokens
    return {
        "base_probability": np.exp(tokens["tuned_top_base_logprob"]),
        "tuned_probability": np.exp(tokens["tuned_top_tuned_logprob"]),
        "base_rank": tokens["tuned_top_base_rank"],  # Under the tuned model it is 1.
        "replaced_tuned_rank": tokens["base_top_tuned_rank"],  # Under the base it is 1.
    }


def _describe(
    token: int,
    measured: TextMeasurements,
    shifted: Bool[np.ndarray, "N R"],
    values: dict[str, np.ndarray],
    reading: Reading,
) -> dict[str, Any]:
    """Returns means over the positions at which a token was promoted, and the token that it replaces most often."""
    here = shifted & (measured.tokens["tuned_top"] == token)
    numbers = here.sum(1)
    replaced = Counter(measured.tokens["base_top"][here].tolist())
    often = min(replaced, key=lambda other: (-replaced[other], other))
    clusters = np.array(reading.clusters or range(len(numbers)))
    found = {name: _mean(np.where(here, x, 0).sum(1), numbers, clusters) for name, x in values.items()}  # fmt: skip
    return {
        "num_texts": int((numbers > 0).sum()),
        **found,
        "replaces": {
            "token": often,
            "text": token_text(often, reading.token_bytes),
            "times": replaced[often],
        },
    }


def _mean(
    sums: Float[np.ndarray, " N"], numbers: Int[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]
) -> dict:
    """Returns the mean of values, `numbers` of them per text, and its standard error (None if one cluster has all)."""
    error = ratio_error(np.bincount(clusters, sums), np.bincount(clusters, numbers))
    mean = sums.sum(dtype=float) / numbers.sum()
    return {"mean": _short(mean), "error": None if error is None else _short(error)}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _class(token: int, token_bytes: TokenBytes | None) -> str | None:
    text = token_text(token, token_bytes)
    return None if text is None else word_class(text)


def _classes(times: Counter, chosen: Counter, token_bytes: TokenBytes | None) -> dict | None:
    """Returns for each class: positions shifted to one of its tokens, and those whose most likely token is in it."""
    if token_bytes is None:
        return None
    found = {name: {"shifted": 0, "chosen": 0} for name in (LOGICAL, CONTENT, SYMBOL)}
    for token, number in chosen.items():
        row = found[_class(token, token_bytes)]
        row["chosen"] += number
        row["shifted"] += times[token]
    return found
