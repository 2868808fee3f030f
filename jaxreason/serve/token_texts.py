"""The text of single tokens, and the place of each of them in the text of a completion."""

import codecs
from collections.abc import Callable, Sequence


class TokenTexts:
    """Texts of single tokens. Decoders of Llama 2's kind leave out a token's leading space; it is kept here.

    Args:
      decode: converts ids to text without special tokens; `decode.with_special` shows these.
      spell: converts a token to its bytes, which may be a part of a character.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], spell: Callable[[int], bytes]):
        self._decode, self.spell = decode, spell
        self._known: dict[int, str] = {}  # A request has most tokens several times.

    def text(self, token: int) -> str:
        """Returns the text of a token, special ones included; U+FFFD for a part of a character."""
        if token not in self._known:
            self._known[token] = self._text(token)
        return self._known[token]

    def _text(self, token: int) -> str:
        shown = self._decode.with_special([token])
        try:
            spelled = self.spell(token).decode()
        except UnicodeDecodeError:
            return shown
        # A decoder that changes more than the leading space is right.
        return spelled if spelled.lstrip(" ") == shown.lstrip(" ") else shown

    def encoded(self, token: int) -> bytes:
        """Returns the bytes that the token adds to a text; those of special tokens too."""
        spelled, text = self.spell(token), self.text(token)
        return spelled if "\N{REPLACEMENT CHARACTER}" in text else text.encode()

    def is_hidden(self, token: int) -> bool:
        """Returns whether a reply's text leaves the token out."""
        return bool(self._decode.with_special([token])) and not self._decode([token])

    def at_start(self, token: int) -> str:
        """Returns the token's text if it is the first one of a text."""
        return self._decode([token])


def prompt_places(texts: TokenTexts, tokens: Sequence[int], text: str) -> list[int]:
    """Returns where each token of a prompt begins in the prompt's text.

    What the tokenizer added to the text (BOS, a space) has no place in it.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    places, place = [], 0
    for token in tokens:
        places.append(place)
        piece = decoder.decode(texts.encoded(token))
        if text.startswith(piece, place):
            place += len(piece)
        elif piece.startswith(" ") and text.startswith(piece[1:], place):
            place += len(piece) - 1
        elif not texts.is_hidden(token):  # The tokenizer has changed the text.
            place = min(place + len(piece), len(text))
    return places


class ReplyPlaces:
    """Counts the text of a reply as it grows.

    Args:
      texts: the texts of tokens.
      start: where the reply begins in the choice's text.
      first: whether no text precedes the reply, so that its leading space is left out.
    """

    def __init__(self, texts: TokenTexts, start: int, first: bool):
        self._texts, self._place, self._first = texts, start, first
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, tokens: Sequence[int]) -> list[int]:
        """Returns where each of the next tokens begins; a part of a character begins where the character does."""
        return [self._take(token) for token in tokens]

    def _take(self, token: int) -> int:
        place = self._place
        if not self._texts.is_hidden(token):
            piece = self._decoder.decode(self._texts.encoded(token))
            if self._first and piece:
                piece = self._texts.at_start(token) if piece.startswith(" ") else piece
                self._first = False
            self._place += len(piece)
        return place
