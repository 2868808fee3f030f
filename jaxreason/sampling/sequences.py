"""What is asked of the engine and what it gives, and the host's record of both on the way."""

from dataclasses import dataclass, field

from jaxreason.sampling.decoding import Decoding


@dataclass(frozen=True)
class Request:
    """A prompt, as token ids, and how many samples of it are wanted; they share its prefill.

    Sample i draws from (seed, i) alone. Seeds are whole numbers of at most 64 bits.
    """

    id: str
    tokens: tuple[int, ...]
    seed: int
    num_samples: int
    decoding: Decoding | None = None  # None: that of the call


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


@dataclass
class Row:
    """A prompt whose pages are being filled, or wait for its samples."""

    request: Request
    keys: tuple[bytes, ...]  # of the prompt's whole pages
    pages: list[int]  # of all its tokens but the last
    found: int  # of them, those that others had filled
    prefilled: int
    started: int = 0  # samples that have a slot

    @property
    def missing(self) -> int:
        """Tokens to prefill; the last token of a prompt is decode's."""
        return len(self.request.tokens) - 1 - self.prefilled

    @property
    def shared(self) -> list[int]:
        """Pages that the next sample goes on from: the last sample takes over what the row holds."""
        is_last = self.started + 1 == self.request.num_samples
        return self.pages if is_last else self.pages[: len(self.keys)]


@dataclass
class Reply:
    """A reply that a slot is writing."""

    request: Request
    sample: int
    decoding: Decoding
    limit: int  # most tokens of the reply
    pages: list[int]  # so far
    shared: int  # of them, those that were its prompt's
    most: int  # pages that it may come to have
    copy: tuple[int, int] = (0, 0)  # a page of the prompt, and its own one that begins like it
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)

    @property
    def position(self) -> int:
        """Of the newest token, which the next step takes."""
        return len(self.request.tokens) - 1 + len(self.tokens)

    def complete(self, reason: str) -> Completion:
        """What is there, as a completion."""
        return Completion(
            self.request.id,
            self.sample,
            tuple(self.tokens),
            tuple(self.logprobs),
            reason,
            tuple(self.top_logprobs),
        )

    def cut(self, length: int) -> None:
        """Drops what comes after the first `length` tokens."""
        del self.tokens[length:], self.logprobs[length:], self.top_logprobs[length:]
