"""Tokens of a text that continues another one, for tokenizers that put a space before a text (Llama 2, Mistral)."""

import functools
from collections.abc import Callable, Sequence

from jaxreason.errors import UserError

TAIL = 8  # Tokens of a context that are encoded again together with what follows them.
# Texts to which nothing is joined in most vocabularies. What follows one of them gets no space of the tokenizer's own.
ANCHORS = ("\n", ".", "0", "a")


class TextParts:
    """Encodes continuations.

    Args:
      encode: converts a text to ids; it may put a space before the text.
      show: converts ids to text, special tokens included.
      spell: converts a token to its bytes.
      begin: the tokens that the tokenizer puts before a text.
    """

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        show: Callable[[Sequence[int]], str],
        spell: Callable[[int], bytes],
        begin: tuple[int, ...],
    ):
        self._encode, self._show, self._spell, self._begin = encode, show, spell, begin

    @functools.cached_property
    def adds_space(self) -> bool:
        """Whether the tokenizer puts a space before a text that has none."""
        try:
            return self._spelled(self._encode("a")).startswith(" ")
        except UserError:  # It has no "a".
            return False

    def after(self, context: Sequence[int], text: str) -> tuple[list[int], list[int]]:
        """Returns the tokens of the context and of the text; see `Tokenizer.encode_after`."""
        if not self.adds_space:
            return list(context), self._encode(text)
        kept = self._without_spaces(context)
        shown = self._show(self._tail(kept))
        spaces = self._moved(shown, list(context[len(kept) :]))
        if spaces is not None:
            found = self._following(shown, spaces + text)
            if found is not None:
                return kept, found
        return list(context), self.alone(text)

    def alone(self, text: str) -> list[int]:
        """Returns the tokens of a text that continues one that is not known: no space is put before it."""
        if not text or not self.adds_space:
            return self._encode(text)
        found = (self._following(anchor, text) for anchor in ANCHORS)
        return next((ids for ids in found if ids is not None), None) or self._encode(text)

    def _following(self, before: str, text: str) -> list[int] | None:
        """Returns the tokens of `text` after `before`; None if a token has a part of both."""
        try:
            first, whole = self._encode(before), self._encode(before + text)
        except UserError:
            return None
        return whole[len(first) :] if whole[: len(first)] == first else None

    def _without_spaces(self, context: Sequence[int]) -> list[int]:
        """Returns the context without the white space at its end. The first token stays in any case."""
        kept = list(context)
        while len(kept) > 1 and self._spelled(kept[-1:]).isspace():
            kept.pop()
        return kept

    def _tail(self, ids: Sequence[int]) -> Sequence[int]:
        tail = ids[-TAIL:]
        begin = len(self._begin)
        return tail[begin:] if begin and tuple(tail[:begin]) == self._begin else tail

    def _moved(self, shown: str, spaces: list[int]) -> str | None:
        """Returns the text of white space after `shown`, without a space of the tokenizer's own; None if unknown."""
        text = self._spelled(spaces)
        for one in dict.fromkeys([text, text.removeprefix(" ")]):
            if self._following(shown, one) == spaces:
                return one
        return None

    def _spelled(self, ids: Sequence[int]) -> str:
        return b"".join(map(self._spell, ids)).decode(errors="replace")
