"""What waits for the engine: prompts of calls, and changes of its weights."""

import dataclasses
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from etils import epath

from jaxreason.sampling.sampling_params import Request, SamplingParams


@dataclass(eq=False)
class Ticket:
    """A prompt of a call.

    Attributes:
      request: for the engine.
      post: takes (sample, Completion), and ("prompt", PromptScores) if those are wanted; called by the worker's thread.
      streams: whether it is to have unfinished replies too.
      scores: whether the prompt's log-probabilities are wanted.
      replies: whether replies are.
      cancelled: whether nobody wants it any more.
      fingerprint: of the weights that answer it, once it has begun.
      unfinished: its replies that have not ended.
    """

    request: Request
    post: Callable[[Any, Any], None]
    streams: bool
    scores: bool
    replies: bool
    cancelled: bool = False
    fingerprint: str | None = None
    unfinished: int = field(init=False)

    def __post_init__(self) -> None:
        self.unfinished = self.request.num_samples


@dataclass(eq=False)
class Change:
    """New weights: where they are, and the future that is set when they are there."""

    folder: epath.Path
    done: Future
    unfinished: int = 0  # it is in a queue of replies, and is none


def to_order(ticket: Ticket) -> dict[str, Any]:
    """What other processes must know of a ticket, for JSON."""
    asked = dataclasses.asdict(ticket.request)
    return {"request": asked, "scores": ticket.scores, "replies": ticket.replies}


def of_order(order: dict[str, Any]) -> Request:
    """The request of such an order."""
    fields = dict(order["request"])
    decoding = fields["decoding"]
    if decoding is not None:
        fields["decoding"] = SamplingParams(**decoding | {"stop": tuple(decoding["stop"])})
    return Request(**fields | {"tokens": tuple(fields["tokens"])})


def sequences(tickets: Iterable[Ticket | Change]) -> int:
    """Replies that have not ended."""
    return sum(ticket.unfinished for ticket in tickets)
