"""Token ids as text and as bytes."""

import json
import re
from collections.abc import Sequence
from typing import Any

import tokenizers

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenDecoder:
    """Converts token ids to text. Calling it leaves out special tokens; `with_special` shows them.

    Bytes that are no whole character become U+FFFD.

    Attributes:
      joins_bytes: whether one broken byte breaks all tokens of bytes beside it (decoders of Llama 2's kind).
    """

    def __init__(self, loaded: Any):
        self._hf = loaded
        broken = loaded.get_vocab().get("<0xFF>")  # Begins no character.
        self._broken = [] if broken is None else [broken]
        self.joins_bytes = bool(self._broken)

    def __call__(self, ids: Sequence[int]) -> str:
        """Returns the text of the ids without special tokens."""
        return self._text(ids, hidden=True)

    def with_special(self, ids: Sequence[int]) -> str:
        """Returns the text of the ids including that of special tokens."""
        return self._text(ids, hidden=False)

    def is_fragile(self, ids: Sequence[int], text: str) -> bool:
        """Returns whether later tokens may change whole characters of `text`, that of the ids."""
        return self.joins_bytes and not self([*ids, *self._broken]).startswith(text)

    def _text(self, ids: Sequence[int], hidden: bool) -> str:
        return self._hf.decode(
            list(ids), skip_special_tokens=hidden, clean_up_tokenization_spaces=False
        )


class TokenBytes:
    """The bytes of single tokens, which may be parts of a character."""

    def __init__(self, loaded: Any):
        self._hf, self._added = loaded, loaded.added_tokens_decoder
        vocabulary = loaded.get_vocab()
        self._of_symbol = _bytes_of_symbols() if _is_byte_level(loaded, vocabulary) else None
        self._falls_back = "<0x00>" in vocabulary

    def __call__(self, token: int) -> bytes:
        """Returns the bytes of a token; joined over a text's tokens they are the text's bytes."""
        if token in self._added:
            return self._added[token].content.encode()
        piece = self._hf.convert_ids_to_tokens(token)
        if piece is None:  # An id of the model that the tokenizer does not know.
            return b""
        if self._of_symbol is not None:
            return b"".join(self._of_symbol.get(symbol, symbol.encode()) for symbol in piece)
        byte = _BYTE.fullmatch(piece) if self._falls_back else None
        return bytes.fromhex(byte[1]) if byte else piece.replace("▁", " ").encode()


def _is_byte_level(loaded: Any, vocabulary: dict[str, int]) -> bool:
    """Returns whether symbols stand for bytes.

    The component that joins tokens decides, since a vocabulary may lack bytes that are in no text (SmolLM2's has 235 of
    the 256). If that component is not known, the vocabulary decides.
    """
    decoder = getattr(getattr(loaded, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return vocabulary.keys() >= set(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    state = json.loads(decoder.__getstate__())
    return any(part["type"] == "ByteLevel" for part in [state, *state.get("decoders", [])])


def _bytes_of_symbols() -> dict[str, bytes]:
    """Returns GPT-2's table: printable bytes are their own symbol, the others follow from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    pairs = [(chr(byte), byte) for byte in printable]
    pairs += [(chr(256 + place), byte) for place, byte in enumerate(others)]
    return {symbol: bytes([byte]) for symbol, byte in pairs}
