"""Finds the end of a reply: stop strings, and think blocks that a prompt has opened or closed."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Literal

# Tokens decoded before the place where a match could begin. They absorb a cut character or a dropped leading space.
MARGIN = 8
# A decoder returns this for a character whose bytes have not all arrived.
CUT = "\N{REPLACEMENT CHARACTER}"
WIDEST = 4  # Bytes of a character.

Decode = Callable[[list[int]], str]
ThinkBlock = Literal["open", "closed", "none"]


def completing_token(
    tokens: Sequence[int], checked: int, stop: tuple[str, ...], decode: Decode
) -> int | None:
    """Returns the number of reply tokens at which the first stop string is complete, or None.

    Strings are found across token borders. Only the end of the reply is decoded: a token that adds text adds at least
    one byte, so a string of n bytes lies within n tokens (apart from tokens without text in between).

    Args:
      tokens: the reply so far.
      checked: how many of its first tokens were searched before, without a match.
      stop: the strings; if there are none, nothing is decoded.
      decode: converts token ids to text. If it has `with_special`, the text with special tokens is searched too. If its
        `joins_bytes` is true, bytes that are no character make no character of those beside them either.
    """
    if not stop or checked >= len(tokens):
        return None
    reach = _reach(stop)
    texts = list(_readings(from_whole(tokens, max(0, checked + 1 - reach), decode), decode))
    found = _has_any(texts, stop)
    # Bytes that are no character may hide the bytes beside them.
    hides = getattr(decode, "joins_bytes", False) and any(CUT in text for text in texts)
    if not found and not hides:
        return None
    for end in range(checked + 1, len(tokens)):
        tail = from_whole(tokens[:end], max(0, end - reach), decode)
        if _has_any(_readings(tail, decode), stop):
            return end
    return len(tokens) if found else None


def from_whole(tokens: Sequence[int], begin: int, decode: Decode) -> list[int]:
    """Returns the tokens from `begin` on, or from up to three before it, so that they begin with a whole character.

    Decoders of Llama 2's kind take bytes that follow each other together: half of a character would break all of them.
    For others, which need no whole character, nothing is decoded.
    """
    if not getattr(decode, "joins_bytes", False):
        return list(tokens[begin:])
    for start in range(begin, max(begin - WIDEST, -1), -1):
        tail = list(tokens[start:])
        if not decode(tail).startswith(CUT):
            return tail
    return list(tokens[begin:])


def _has_any(texts: Iterable[str], stop: tuple[str, ...]) -> bool:
    return any(s in text for text in texts for s in stop)


def _readings(tokens: Sequence[int], decode: Decode) -> Iterator[str]:
    """Yields the text as it is shown, and, if `decode` can do it, the text with special tokens."""
    yield decode(list(tokens))
    if hasattr(decode, "with_special"):
        yield decode.with_special(list(tokens))


def before_stop(tokens: Sequence[int], stop: tuple[str, ...], decode: Decode) -> str:
    """Returns the text of a reply without the stop string that ended it.

    Args:
      tokens: the reply, cut at the token that completes a stop string, if there is one.
      stop: the strings.
      decode: the same as for `completing_token`.
    """
    text = decode(list(tokens))
    places = [text.find(mark) for mark in stop]
    found = min([place for place in places if place >= 0], default=len(text))
    return text[: min(found, len(text) - special_stop(tokens, stop, decode))]


def special_stop(tokens: Sequence[int], stop: tuple[str, ...], decode: Decode) -> int:
    """Returns how many shown characters at the end belong to a stop string that ends with or in a special token.

    Returns 0 if no such string has ended the reply.
    """
    if not stop or not tokens or not hasattr(decode, "with_special"):
        return 0
    tail = from_whole(tokens, max(0, len(tokens) - _reach(stop)), decode)
    marked = decode.with_special(tail)
    begins = [place for s in stop if (place := marked.rfind(s)) >= 0 and s not in decode(tail)]
    return _shown_from(tail, min(begins), decode) if begins else 0


def special_start(tokens: Sequence[int], stop: tuple[str, ...], decode: Decode) -> int:
    """Returns how many shown characters at the end may begin a stop string which special tokens are part of."""
    if not stop or not tokens or not hasattr(decode, "with_special"):
        return 0
    tail = from_whole(tokens, max(0, len(tokens) - _reach(stop)), decode)
    # Nobody knows yet whether a character that is not complete belongs to the stop string.
    marked = decode.with_special(tail).rstrip(CUT)
    begun = max(begun_length(marked, s) for s in stop)
    return _shown_from(tail, len(marked) - begun, decode) if begun else 0


def begun_length(text: str, stop: str) -> int:
    """Returns how many characters at the end of the text are a beginning of the stop string, but not all of it."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _reach(stop: tuple[str, ...]) -> int:
    """Returns the number of tokens at the end within which a stop string that ends there begins."""
    return max(len(s.encode(errors="surrogatepass")) for s in stop) + MARGIN


def _shown_from(tail: list[int], place: int, decode: Decode) -> int:
    """Returns how many characters are shown of the text with special tokens from `place` on."""
    # `place` is in token `first`. The text shown from there on counts, except what precedes it in that token.
    first = max(i for i in range(len(tail)) if len(decode.with_special(tail[:i])) <= place)
    before, own = len(decode(tail[:first])), len(decode(tail[: first + 1]))
    inside = place - len(decode.with_special(tail[:first]))
    # A special token shows nothing, so what precedes `place` inside it is not shown either.
    return max(0, len(decode(tail)) - before - min(inside, own - before))


def think_block_of(
    prompt: Sequence[int],
    close: Sequence[int],
    open_token: int | None,
    stop_ids: Collection[int],
    decode: Decode,
) -> ThinkBlock:
    """Returns the state of the think block in the turn that the prompt opens.

    Args:
      prompt, close, stop_ids, decode: as for `closed_by_prompt`.
      open_token: the token that opens a block; None = every turn begins within one.
    """
    # Looked at first: the prompt may have closed another block before, as an example without special tokens does.
    marks = {open_token, *close[:1], *stop_ids} - {None}
    last = next((token for token in reversed(prompt) if token in marks), None)
    if last is not None and last == open_token:
        return "open"
    if closed_by_prompt(prompt, close, stop_ids, decode):
        return "closed"
    return "open" if open_token is None else "none"


def closed_by_prompt(
    prompt: Sequence[int], close: Sequence[int], stop_ids: Collection[int], decode: Decode
) -> bool:
    """Returns whether the turn that the prompt opens already contains a closed think block.

    Args:
      prompt: its tokens.
      close: the token that closes a block, and the tokens that follow it; () if there is none.
      stop_ids: tokens that end a turn.
      decode: the same as for `completing_token`.
    """
    if not close or close[0] not in prompt:
        return False
    last = len(prompt) - 1 - list(reversed(prompt)).index(close[0])
    rest = list(prompt[last + 1 :])
    if rest in ([], list(close[1:])):
        return True
    # Text may follow in the same turn. A different turn would be separated by a stop token or by special tokens.
    ends, special = set(stop_ids), len(set(_readings(rest, decode))) > 1
    return bool(ends) and not special and not ends & set(rest)
