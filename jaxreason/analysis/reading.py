"""The text data of a unit for metrics that show tokens: ids, the text of a token, a threshold."""

import codecs
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError

_LOG = logging.getLogger(__name__)

# In nats; the maximum is ln 2 = 0.69. JS <= ln 2 * TV, so at least 0.14 of the probability moved to other tokens.
# Rounding alone changes the first choice of near ties: SmolLM2-135M in bfloat16 and in float32 differs at 3.5 % of the
# tokens of a text, where JS is at most 0.0035.
SHIFT_THRESHOLD = 0.1

TokenBytes = Callable[[int], bytes]


class Reading(NamedTuple):
    """The text data of one unit.

    Attributes:
      ids: ids of the questions, in the order of the texts; () if not known.
      clusters: the number of each text's cluster; () if every text is alone.
      token_bytes: returns the bytes of a token; None if there is no tokenizer.
      shift_threshold: the JS divergence, in nats, from which on a token counts as shifted.
    """

    ids: tuple[str, ...] = ()
    token_bytes: TokenBytes | None = None
    shift_threshold: float = SHIFT_THRESHOLD
    clusters: tuple[int, ...] = ()


def load_token_bytes(path: str) -> TokenBytes | None:
    """Returns the token bytes of a model's folder or hub name; None, with a warning, if no tokenizer can be read.

    Distributions are compared without a tokenizer too; tokens then have only ids.
    """
    try:
        return load_tokenizer(path).token_bytes
    except UserError as error:
        _LOG.warning("Tokens will be shown by their ids: %s", error)
        return None


def token_text(token: int, token_bytes: TokenBytes | None) -> str | None:
    """Returns the text of one token, with bytes that are no whole character as <0xE2>; None without a tokenizer."""
    if token_bytes is None:
        return None
    found = token_bytes(token)
    try:
        return found.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in found)


def running_texts(tokens: Sequence[int], token_bytes: TokenBytes) -> list[str]:
    """Returns the text that each token adds to those before it; a character of several tokens is in the last one's."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(token_bytes(int(token))) for token in tokens]
