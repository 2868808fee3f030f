"""The choices of responses and chunks in OpenAI's form, and the text of a reply as it grows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jaxreason.sampling.stopping import (
    CUT,
    MARGIN,
    WIDEST,
    begun_length,
    from_whole,
    special_start,
    special_stop,
)
from jaxreason.serve.token_texts import TokenTexts

LEAST_LOGPROB = -9999.0  # Stands for minus infinity, which JSON does not have.


class TokenLogprob(NamedTuple):
    """A token with its log-probability, and the most likely tokens at its place in order.

    The first token of a prompt has no log-probability. `place` is where its text begins in the choice's text.
    """

    token: int
    logprob: float | None
    top: tuple[tuple[int, float], ...]
    place: int = 0


class ChoiceDelta(NamedTuple):
    """The text and tokens that are added to a choice, and the reason of its end if it has ended."""

    text: str
    tokens: tuple[TokenLogprob, ...]
    finish_reason: str | None


@dataclass(frozen=True)
class Usage:
    """The token counts of a request. A prompt with several replies is counted once."""

    prompt: int
    replies: int

    def to_json(self) -> dict[str, int]:
        """Returns the counts under OpenAI's names."""
        total = self.prompt + self.replies
        counts = {"prompt_tokens": self.prompt, "completion_tokens": self.replies}
        return {**counts, "total_tokens": total}


class ChoiceWriter:
    """Writes the choices of one request.

    Args:
      chat: whether the choices are messages (chat) or texts.
      logprobs: how many of the most likely tokens are shown at each place; None shows no log-probabilities.
      texts: the texts of tokens.
    """

    def __init__(self, chat: bool, logprobs: int | None, texts: TokenTexts):
        self._chat, self._logprobs, self._texts = chat, logprobs, texts

    def object_name(self, chunk: bool) -> str:
        """Returns the value of `object`."""
        if self._chat:
            return "chat.completion.chunk" if chunk else "chat.completion"
        return "text_completion"

    def opening(self, index: int) -> dict[str, Any] | None:
        """Returns the choice of the chunk that opens a message; None for texts, which have no such chunk."""
        if not self._chat:
            return None
        delta = {"role": "assistant", "content": "", "refusal": None}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def choice(self, index: int, delta: ChoiceDelta, chunk: bool) -> dict[str, Any]:
        """Returns a whole choice, or that of a chunk."""
        if not self._chat:
            content = {"text": delta.text}
        elif chunk:
            content = {"delta": {"content": delta.text} if delta.text else {}}
        else:
            message = {"role": "assistant", "content": delta.text, "refusal": None}
            content = {"message": message}
        logprobs = None if self._logprobs is None else self._table(delta.tokens)
        return {
            "index": index,
            **content,
            "logprobs": logprobs,
            "finish_reason": delta.finish_reason,
        }

    def _table(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        if self._chat:
            return {"content": [self._entry(one) for one in tokens], "refusal": None}
        return {
            "tokens": [self._texts.text(one.token) for one in tokens],
            "token_logprobs": [_finite(one.logprob) for one in tokens],
            "top_logprobs": [self._top_texts(one) for one in tokens] if self._logprobs else None,
            "text_offset": [one.place for one in tokens],
        }

    def _top_texts(self, shown: TokenLogprob) -> dict[str, float] | None:
        if shown.logprob is None:
            return None
        found: dict[str, float] = {}
        for token, logprob in shown.top[: self._logprobs]:
            # Two tokens may have the same text; the more likely one comes first and is shown.
            found.setdefault(self._texts.text(token), _finite(logprob))
        return found

    def _entry(self, shown: TokenLogprob) -> dict[str, Any]:
        top = [self._named(*one) for one in shown.top[: self._logprobs]]
        return {**self._named(shown.token, shown.logprob), "top_logprobs": top}

    def _named(self, token: int, logprob: float | None) -> dict[str, Any]:
        spelled = list(self._texts.spell(token))
        return {"token": self._texts.text(token), "logprob": _finite(logprob), "bytes": spelled}


def _finite(logprob: float | None) -> float | None:
    return logprob if logprob is None or math.isfinite(logprob) else LEAST_LOGPROB


class TextStream:
    """Returns the text of a reply as it grows, as far as it is certain.

    Only whole characters are returned, and nothing that may belong to a stop string. Text is never taken back.

    Args:
      decode: converts token ids to text. If it has `is_fragile`, text that later tokens may change is held back.
      stop: stop strings. The first one that occurs ends the text and is not part of it.
      before: the tokens that the reply continues, if its leading space counts; () leaves this to `decode`.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        stop: tuple[str, ...],
        before: Sequence[int] = (),
    ):
        self._decode, self._stop = decode, stop
        self._is_fragile = getattr(decode, "is_fragile", lambda ids, text: False)
        self._before = _whole_end(before, decode)
        # Decoding all tokens for each new one would cost the square of the reply's length. Tokens before `_context` are
        # not decoded again. Those from there to `_read` are, since a token's text may depend on the one before it (a
        # leading space); their text is cut off the front of the new one.
        self._context = self._read = 0
        self._held, self._ended = "", False

    def push(self, tokens: Sequence[int], final: bool) -> str:
        """Returns the new text, given all tokens so far. With `final`, the text that was held back is returned too."""
        if self._ended:
            return ""
        self._held += self._new_text(tokens, final)
        places = [self._held.find(one) for one in self._stop if one in self._held]
        self._ended = bool(places) or final
        # What is unsure may also be text that `_new_text` has not given yet.
        unsure = min(self._unsure(tokens), len(self._held))
        # A string with a special token may begin before one that is in the text and ends together with it.
        sure = min([*places, len(self._held) - unsure])
        text, self._held = self._held[:sure], self._held[sure:]
        return text

    def _new_text(self, tokens: Sequence[int], final: bool) -> str:
        lead = [] if self._read else self._before
        before = self._decode([*lead, *tokens[self._context : self._read]])
        ids = [*lead, *tokens[self._context :]]
        text = self._decode(ids)
        if len(text) <= len(before):
            return ""
        if not final and (text.endswith(CUT) or self._is_fragile(ids, text)):
            return ""
        self._context, self._read = self._read, len(tokens)
        return text[len(before) :]

    def _unsure(self, tokens: Sequence[int]) -> int:
        """Returns the number of characters at the end that belong to a stop string, or may begin one."""
        if self._ended:
            return special_stop(tokens, self._stop, self._decode)
        begun = [begun_length(self._held, one) for one in self._stop]
        return max([special_start(tokens, self._stop, self._decode), *begun])


def _whole_end(before: Sequence[int], decode: Callable[[list[int]], str]) -> list[int]:
    """Returns the last tokens before a reply. A reply gets no part of a character that began before it."""
    for cut in range(WIDEST):
        tokens = list(before[: max(0, len(before) - cut)])
        end = from_whole(tokens, max(0, len(tokens) - MARGIN), decode)
        if not decode(end).endswith(CUT):
            return end
    return []
