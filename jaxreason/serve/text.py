"""The text of a reply that is still being written: whole characters, and nothing that may become a stop string."""

from collections.abc import Callable, Sequence

from jaxreason.sampling.stopping import special_stop

CUT = (
    "\N{REPLACEMENT CHARACTER}"  # what a decoder makes of a character whose bytes are not all there
)


class TextStream:
    """Gives out a reply's text as far as it is certain; what it has given is never taken back.

    Args:
      decode: token ids to text.
      stop: strings of which the first ends the text, itself left out.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...]):
        self._decode, self._stop = decode, stop
        # Tokens before `_context` are done with; those up to `_read` are decoded again, since a token's text may
        # depend on the one before it (a leading space).
        self._context = self._read = 0
        self._held, self._ended = "", False

    def push(self, tokens: Sequence[int], final: bool) -> str:
        """What is new, given all tokens so far; `final` lets go of what was held back."""
        if self._ended:
            return ""
        self._held += self._new_text(tokens, final)
        places = [self._held.find(one) for one in self._stop if one in self._held]
        self._ended = bool(places) or final
        sure = min(places) if places else len(self._held) - self._unsure(tokens, final)
        text, self._held = self._held[:sure], self._held[sure:]
        return text

    def _new_text(self, tokens: Sequence[int], final: bool) -> str:
        before = self._decode(list(tokens[self._context : self._read]))
        text = self._decode(list(tokens[self._context :]))
        if len(text) <= len(before) or (text.endswith(CUT) and not final):
            return ""
        self._context, self._read = self._read, len(tokens)
        return text[len(before) :]

    def _unsure(self, tokens: Sequence[int], final: bool) -> int:
        """Characters at the end that are, or may be, the beginning of a stop string that special tokens are part of."""
        return special_stop(tokens, self._stop, self._decode) if final else self._open()

    def _open(self) -> int:
        """Characters at the end that may be the beginning of a stop string."""
        longest = max(map(len, self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if self._held.endswith(tuple(one[:length] for one in self._stop if len(one) > length)):
                return length
        return 0
