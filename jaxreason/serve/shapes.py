"""Responses and chunks as OpenAI's clients read them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

LEAST_LOGPROB = -9999.0  # JSON has no infinity


class Shown(NamedTuple):
    """A token with its log-probability and the likeliest tokens there, likeliest first; the first of all has none."""

    token: int
    logprob: float | None
    top: tuple[tuple[int, float], ...]


class Delta(NamedTuple):
    """What a choice's text and tokens grow by, and why it has ended, if it has."""

    text: str
    tokens: tuple[Shown, ...]
    finish_reason: str | None


@dataclass(frozen=True)
class Usage:
    """Tokens of a call; a prompt with several replies counts once."""

    prompt: int
    replies: int

    def to_json(self) -> dict[str, int]:
        """As clients know it."""
        total = self.prompt + self.replies
        counts = {"prompt_tokens": self.prompt, "completion_tokens": self.replies}
        return {**counts, "total_tokens": total}


class Shape:
    """Writes one call's choices.

    Args:
      chat: whether they are messages or texts.
      logprobs: how many likeliest tokens are shown at each; None shows no log-probabilities.
      show: token ids to text, special tokens included.
      spell: a token to its bytes, which may be a part of a character.
    """

    def __init__(
        self,
        chat: bool,
        logprobs: int | None,
        show: Callable[[list[int]], str],
        spell: Callable[[int], bytes],
    ):
        self._chat, self._logprobs, self._show, self._spell = chat, logprobs, show, spell
        self._offsets: dict[int, int] = {}  # of each choice's next token in its text

    def kind(self, chunk: bool) -> str:
        """The value of `object`."""
        if self._chat:
            return "chat.completion.chunk" if chunk else "chat.completion"
        return "text_completion"

    def opening(self, index: int) -> dict[str, Any] | None:
        """The choice of the chunk that opens a message; texts have none."""
        if not self._chat:
            return None
        delta = {"role": "assistant", "content": "", "refusal": None}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def choice(self, index: int, delta: Delta, chunk: bool) -> dict[str, Any]:
        """A whole choice, or a chunk's."""
        if not self._chat:
            content = {"text": delta.text}
        elif chunk:
            content = {"delta": {"content": delta.text} if delta.text else {}}
        else:
            message = {"role": "assistant", "content": delta.text, "refusal": None}
            content = {"message": message}
        logprobs = None if self._logprobs is None else self._table(index, delta.tokens)
        return {
            "index": index,
            **content,
            "logprobs": logprobs,
            "finish_reason": delta.finish_reason,
        }

    def _table(self, index: int, tokens: Sequence[Shown]) -> dict[str, Any]:
        if self._chat:
            return {"content": [self._entry(one) for one in tokens], "refusal": None}
        texts = [self._show([one.token]) for one in tokens]
        offsets = [self._offsets.get(index, 0)]
        for text in texts:
            offsets.append(offsets[-1] + len(text))
        self._offsets[index] = offsets.pop()
        return {
            "tokens": texts,
            "token_logprobs": [_finite(one.logprob) for one in tokens],
            "top_logprobs": [self._top_texts(one) for one in tokens] if self._logprobs else None,
            "text_offset": offsets,
        }

    def _top_texts(self, shown: Shown) -> dict[str, float] | None:
        if shown.logprob is None:
            return None
        found: dict[str, float] = {}
        for token, logprob in shown.top[: self._logprobs]:
            found.setdefault(
                self._show([token]), _finite(logprob)
            )  # of two that look alike, the likelier
        return found

    def _entry(self, shown: Shown) -> dict[str, Any]:
        top = [self._named(*one) for one in shown.top[: self._logprobs]]
        return {**self._named(shown.token, shown.logprob), "top_logprobs": top}

    def _named(self, token: int, logprob: float | None) -> dict[str, Any]:
        spelled = list(self._spell(token))
        return {"token": self._show([token]), "logprob": _finite(logprob), "bytes": spelled}


def _finite(logprob: float | None) -> float | None:
    return logprob if logprob is None or math.isfinite(logprob) else LEAST_LOGPROB
