"""Cross-sampled replies to questions: where each row takes the other model's choice, and the line that is kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxreason.analysis.patched_replies import (
    NO_BUDGET,
    Patched,
    PatchingPrompts,
    Takes,
    prompt_rows,
)
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation.eval_jobs import EvalJob
from jaxreason.evaluation.grading import EvalReply, sample_line
from jaxreason.sampling.stopping import completing_token
from jaxreason.tasks.reply_text import cut_at

SLACK = 1e-6  # of a threshold that is a measured divergence, relative


@dataclass(frozen=True)
class Asked:
    """The questions that are put, and what a pass over them needs."""

    part: EvalJob
    places: list[int]  # of the part's questions
    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    length: int  # of a prompt with its longest reply


@dataclass(frozen=True)
class Rows:
    """How a pass over the questions takes choices.

    Attributes:
      number: of rows of a batch.
      budget: choices of the other model at most; -1: no end.
      threshold: of the divergence, in nats; None: that of the `budget` largest shifts of the leading model's own reply.
      shifts: question -> the shifts of that reply, as `reply_lines` gives them.
    """

    number: int
    budget: int
    threshold: float | None
    shifts: dict[str, list]

    def takes(self, ids: Sequence[str]) -> Takes:
        """Of the questions of a batch."""
        thresholds = np.zeros(self.number, np.float32)
        for row, name in enumerate(ids):
            thresholds[row] = self._threshold(self.shifts.get(name, []))
        most = NO_BUDGET if self.budget < 0 else self.budget
        return Takes(thresholds, np.full(self.number, most, np.int32))

    def _threshold(self, shifts: list) -> float:
        if self.threshold is not None:
            return self.threshold
        sizes = sorted((shift[1] for shift in shifts), reverse=True)
        # With fewer shifts than the budget every one is taken, and what then comes.
        return sizes[self.budget - 1] * (1 - SLACK) if 0 < self.budget <= len(sizes) else 0.0


def reply_lines(
    asked: Asked, rows: Rows, write: Callable[[PatchingPrompts, Takes], Patched]
) -> list[dict[str, Any]]:
    """The lines of all questions, in their order; each as of a sample, with `shifts`.

    A shift is a position at which the models' choices differ: its place in the reply, the divergence in nats, both
    choices, and 1 where the other's was taken.
    """
    width = max(len(asked.part.prompts[place]) for place in asked.places)
    lines = []
    for places in _batches(asked.places, rows.number):
        prompts = [asked.part.prompts[place] for place in places]
        most = asked.part.decoding.max_tokens
        arrays = prompt_rows(prompts, rows.number, width, most, asked.length)
        found = write(arrays, rows.takes([asked.part.items[place].id for place in places]))
        lines += [_line(asked, found, row, place) for row, place in enumerate(places)]
    return lines


def _batches(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _line(asked: Asked, found: Patched, row: int, place: int) -> dict[str, Any]:
    part, tokenizer = asked.part, asked.tokenizer
    tokens = found.tokens[row, : found.length[row]].tolist()
    cut = completing_token(tokens, 0, part.decoding.stop, tokenizer.decode)
    ended = cut is not None or tokens[-1] in asked.stop_ids
    tokens = tokens[: len(tokens) if cut is None else cut]
    reason = "stop" if ended else "length"
    if not np.isfinite(found.js[row, : len(tokens)]).all():
        reason = "error: non-finite logits"
    text = cut_at(tokenizer.decode(tokens), part.decoding.stop)
    extra = {"shifts": _shifts(found, row, len(tokens))}
    reply = EvalReply(part.items[place], 0, part.prompts[place], tokens, text, reason, extra)
    return sample_line(part.key.benchmark, reply)


def _shifts(found: Patched, row: int, length: int) -> list[list]:
    own, other = found.own[row, :length], found.other[row, :length]
    return [
        [int(at), float(found.js[row, at]), int(own[at]), int(other[at]), int(found.taken[row, at])]
        for at in np.flatnonzero(own != other)
    ]
