"""Replies that were sampled for a step that is still to come: what a checkpoint needs beside the weights.

They are from weights that are gone by then, so they are kept themselves, exactly as they were sampled.
"""

from collections.abc import Sequence
from typing import NamedTuple

from etils import epath

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.results.in_flight_files import in_flight_path, read_in_flight, write_in_flight
from jaxreason.rl.rollouts import GIVEN
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sampling.engine import Completion

Replies = list[list[tuple[Completion, str]]]  # of each prompt, with their text
_PIECE = 256  # replies that process 0 tells the others at a time


class Waiting(NamedTuple):
    """The replies to the first generation batch of a step, not yet graded.

    Attributes:
      replies: of each prompt, those that were sampled first.
      staleness: see `rollouts.Group`.
    """

    replies: Replies
    staleness: int | None


def keep(workdir: epath.Path, step: int, waiting: Waiting | None, steps: Sequence[int]) -> None:
    """Writes what waits after `step` steps; every process calls it.

    Args:
      workdir: of the run.
      step: steps that were made.
      waiting: what the next step will learn from; None if nothing was sampled for it.
      steps: whose files must stay: those with a checkpoint.
    """
    on_process_zero(lambda: write_in_flight(workdir, step, _lines(waiting), steps))


def _lines(waiting: Waiting | None) -> list[dict]:
    return [
        {
            **{"prompt": index, "sample": completion.sample, "staleness": waiting.staleness},
            **{"tokens": list(completion.tokens), "logprobs": list(completion.logprobs)},
            "finish_reason": completion.finish_reason,
        }
        for index, found in enumerate(waiting.replies if waiting else ())
        for completion, _ in found
        if completion.finish_reason != GIVEN
    ]


def fetch(
    workdir: epath.Path, step: int, num_prompts: int, num_samples: int, tokenizer: Tokenizer
) -> Waiting | None:
    """What `keep` wrote, without replies that rows give; None where nothing waited. Every process calls it.

    Raises:
      UserError: the file is missing, or does not hold `num_samples` whole replies to each of `num_prompts` prompts.
    """
    lines = _read_by_pieces(workdir, step)
    if not lines:
        return None
    places = [(index, sample) for index in range(num_prompts) for sample in range(num_samples)]
    there = [(line.get("prompt"), line.get("sample")) for line in lines]
    if there != places or not all(map(_is_whole, lines)):
        raise UserError(
            f"{in_flight_path(workdir, step)}: expected {num_samples} replies to each of {num_prompts} prompts, in "
            f"order, with a log-prob for each token; there are {len(lines)} in all. Put back a copy of it."
        )
    replies: Replies = [[] for _ in range(num_prompts)]
    for line in lines:
        completion = Completion(
            *(str(line["prompt"]), line["sample"], tuple(line["tokens"]), tuple(line["logprobs"])),
            line["finish_reason"],
        )
        replies[line["prompt"]].append((completion, tokenizer.decode(completion.tokens)))
    return Waiting(replies, lines[0]["staleness"])


def _is_whole(line: dict) -> bool:
    tokens, logprobs = line.get("tokens"), line.get("logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        return False
    known = isinstance(line.get("finish_reason"), str) and line.get("staleness") in (0, 1)
    return known and len(tokens) == len(logprobs)


def _read_by_pieces(workdir: epath.Path, step: int) -> list[dict]:
    """On all processes; the hosts of a slice share no disk, and not all of it fits one message."""
    here: list[dict] = []
    number = on_process_zero(lambda: here.extend(read_in_flight(workdir, step)) or len(here))
    starts = range(0, number, _PIECE)
    return [
        line
        for start in starts
        for line in on_process_zero(lambda start=start: here[start : start + _PIECE])
    ]
