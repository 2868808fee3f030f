"""Sampling parameters, what is asked of the engine with them, and what it gives back."""

from dataclasses import dataclass
from typing import Annotated

from jaxreason.config import LEARNED, above, at_least, check_ranges, needed, within
from jaxreason.errors import UserError


@dataclass(frozen=True)
class SamplingParams:
    """The choice of tokens of a reply, and its end.

    Raises:
        ValueError: A field is out of range; names the field.
    """

    temperature: Annotated[float, at_least(0), LEARNED]
    """Divides the logits; 0 means greedy."""
    top_k: Annotated[int, at_least(0), LEARNED] = 0
    """Only the k likeliest tokens may be drawn (ties with the k-th stay); 0 is off."""
    top_p: Annotated[float, within(0, 1), LEARNED] = 1.0
    """Only the smallest set of likeliest tokens with at least this probability may be drawn, counted after
    top-k as Hugging Face does (ties stay); 1.0 is off, 0 leaves the likeliest token alone.
    """
    max_tokens: Annotated[int, at_least(1), LEARNED] = needed()
    """Most tokens of a reply, stop token included."""
    stop: Annotated[tuple[str, ...], LEARNED] = ()
    """Strings that end a reply at the token that completes one of them."""
    min_p: Annotated[float, within(0, 1), LEARNED] = 0.0
    """Only tokens at least this times as likely as the likeliest may be drawn; 0 is off."""
    repetition_penalty: Annotated[float, above(0), LEARNED] = 1.0
    """Divides positive logits of tokens that prompt or reply have, and multiplies negative ones (CTRL, arXiv
    1909.05858); 1 is off.
    """
    think_budget: Annotated[int, at_least(0), LEARNED] = 0
    """Tokens after which a think block that is still open is closed; 0 is off."""

    def __post_init__(self) -> None:
        check_ranges(self, "decoding")
        if isinstance(self.stop, str) or any(not s for s in self.stop):
            raise UserError(
                f"decoding.stop: expected a tuple of non-empty strings, got {self.stop!r}"
            )


@dataclass(frozen=True)
class Request:
    """A prompt, as token ids, and how many samples of it are wanted; they share its prefill.

    Sample i draws from (seed, i) alone. Seeds are whole numbers of at most 64 bits.
    """

    id: str
    tokens: tuple[int, ...]
    seed: int
    num_samples: int
    decoding: SamplingParams | None = None  # None: that of the call


@dataclass(frozen=True)
class Completion:
    """One reply.

    Attributes:
      id: of the request.
      sample: 0 … num_samples - 1.
      tokens: the reply, with the stop token if one was sampled; cut at the token that completes a stop string.
      logprobs: of each token: log-softmax(logits / temperature) (greedy: temperature 1), before top-k and top-p.
      finish_reason: "stop" (token or string), "length" (max_tokens or max_length), "cancelled", or "error: " and the
        reason; "" while it goes on.
      top_logprobs: for each token the `sampler.top_logprobs` likeliest ones, as (token, logprob), likeliest first.
    """

    id: str
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
