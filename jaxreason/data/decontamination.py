"""Removes training questions that occur, whole or in part, among evaluation questions.

Two questions meet when they are equal after Unicode, case and space normalisation, or share a run
of 13 words (as in GPT-3, arXiv 2005.14165, appendix C, where only the surroundings of the run go).
Prompt templates and replies are not compared. Questions made from one pattern share its words:
split those by hash instead.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from jaxreason.data.examples import Example, question

NGRAM = 13


def decontaminate(
    train: Sequence[Example], evaluation: Sequence[Example]
) -> tuple[list[Example], dict[str, Any]]:
    """The clean training examples, and a report of what was removed and why.

    Returns:
      The kept examples in order, and a JSON-ready dict: `ngram`, `train`, `evaluation`, `kept`,
      `removed` (`{"same question": n, "shared words": n}`), `by_evaluation_source`, and `items`,
      one for each removed example: `id`, `source`, `reason`, `evaluation_id`, `evaluation_source`
      and `text`, the question or the run of words that they share.
    """
    same = {_normalised(question(example)): example for example in reversed(evaluation)}
    runs = {run: example for example in reversed(evaluation) for run in _runs(question(example))}
    kept, items = [], []
    for example in train:
        item = _find(example, same, runs)
        if item is None:
            kept.append(example)
        else:
            items.append(item)
    return kept, {
        "ngram": NGRAM,
        "train": len(train),
        "evaluation": len(evaluation),
        "kept": len(kept),
        "removed": dict(Counter(item["reason"] for item in items)),
        "by_evaluation_source": dict(Counter(item["evaluation_source"] for item in items)),
        "items": items,
    }


def _find(
    example: Example, same: dict[str, Example], runs: dict[tuple[str, ...], Example]
) -> dict[str, str] | None:
    text = _normalised(question(example))
    if text in same:
        return _item(example, "same question", same[text], text)
    for run in _runs(question(example)):
        if run in runs:
            return _item(example, "shared words", runs[run], " ".join(run))
    return None


def _item(example: Example, reason: str, other: Example, text: str) -> dict[str, str]:
    return {
        "id": example.id,
        "source": example.source,
        "reason": reason,
        "evaluation_id": other.id,
        "evaluation_source": other.source,
        "text": text,
    }


def _normalised(text: str) -> str:
    """Signs are kept: `4 - 1` and `4 + 1` differ."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = re.findall(r"\w+", _normalised(text))
    return (tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1))
