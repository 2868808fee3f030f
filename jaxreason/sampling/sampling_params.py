"""Sampling parameters, the requests to the engine that carry them, and the completions that it returns."""

from dataclasses import dataclass
from typing import Annotated

from jaxreason.config import LEARNED, at_least, check_ranges, needed, within
from jaxreason.errors import UserError

# Logits that are multiplied or divided by more would not stay numbers in float32.
MOST = 1e6


@dataclass(frozen=True)
class SamplingParams:
    """How the tokens of a reply are chosen, and when it ends.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    temperature: Annotated[float, within(0, MOST), LEARNED]
    """Divides the logits; 0 means greedy."""
    top_k: Annotated[int, at_least(0), LEARNED] = 0
    """Only the k most likely tokens may be drawn (ties with the k-th stay); 0 is off."""
    top_p: Annotated[float, within(0, 1), LEARNED] = 1.0
    """Only the smallest set of most likely tokens with at least this probability may be drawn. It is computed after
    top-k, as Hugging Face does (ties stay); 1.0 is off, 0 leaves only the most likely token.
    """
    max_tokens: Annotated[int, at_least(1), LEARNED] = needed()
    """The most tokens of a reply, including the stop token."""
    stop: Annotated[tuple[str, ...], LEARNED] = ()
    """Strings that end a reply, at the token that completes one of them."""
    min_p: Annotated[float, within(0, 1), LEARNED] = 0.0
    """Only tokens at least this times as likely as the most likely token may be drawn; 0 is off."""
    repetition_penalty: Annotated[float, within(1 / MOST, MOST), LEARNED] = 1.0
    """Divides the positive logits of tokens that occur in the prompt or the reply, and multiplies the negative ones
    (CTRL, arXiv 1909.05858); 1 is off.
    """
    think_budget: Annotated[int, at_least(0), LEARNED] = 0
    """After this many tokens, a think block that is still open is closed; 0 is off."""

    def __post_init__(self) -> None:
        check_ranges(self, "decoding")
        if isinstance(self.stop, str) or any(not s for s in self.stop):
            raise UserError(
                f"decoding.stop: expected a tuple of non-empty strings, got {self.stop!r}"
            )


@dataclass(frozen=True)
class Request:
    """A prompt, as token ids, and the number of samples to draw for it. The samples share one prefill.

    Sample i draws from (seed, i) alone. Seeds are whole numbers of at most 64 bits.
    """

    id: str
    tokens: tuple[int, ...]
    seed: int
    num_samples: int
    decoding: SamplingParams | None = None  # None: the sampling parameters of the call.


@dataclass(frozen=True)
class Completion:
    """One reply.

    Attributes:
      id: the request's id.
      sample: 0 … num_samples - 1.
      tokens: the reply, with the stop token if one was sampled; cut at the token that completes a stop string.
      logprobs: of each token: log-softmax(logits / temperature) (greedy: temperature 1), before top-k and top-p.
      finish_reason: "stop" (token or string), "length" (max_tokens or max_length), "cancelled", or "error: " and the
        reason; "" while the reply still runs.
      top_logprobs: for each token the `sampler.top_logprobs` most likely ones, as (token, logprob), most likely first.
    """

    id: str
    sample: int
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
