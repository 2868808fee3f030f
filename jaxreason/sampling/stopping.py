"""Finds the end of a reply: stop strings, and think blocks that the prompt has closed."""

from collections.abc import Callable, Iterable, Sequence

MARGIN = 8  # tokens decoded before a match could begin: a cut character or a dropped leading space stays in them

Decode = Callable[[list[int]], str]


def completing_token(
    tokens: Sequence[int], checked: int, stop: tuple[str, ...], decode: Decode
) -> int | None:
    """How many tokens of the reply there are when the first stop string is complete, or None.

    Strings are found across token borders. Only a tail is decoded: a token that adds text adds at least one byte, so
    a string of n bytes lies within n tokens (tokens without text in between excepted).

    Args:
      tokens: the reply so far.
      checked: how many of its first tokens were looked at before, without a find.
      stop: the strings; with none, nothing is decoded.
      decode: token ids to text; where it has `with_special`, strings are looked for in that text too.
    """
    if not stop or checked >= len(tokens):
        return None
    reach = max(len(s.encode(errors="surrogatepass")) for s in stop) + MARGIN
    begin = max(0, checked + 1 - reach)
    if not _has_any(tokens[begin:], stop, decode):
        return None
    for end in range(checked + 1, len(tokens)):
        if _has_any(tokens[max(0, end - reach) : end], stop, decode):
            return end
    return len(tokens)


def _has_any(tokens: Sequence[int], stop: tuple[str, ...], decode: Decode) -> bool:
    return any(s in text for text in _readings(tokens, decode) for s in stop)


def _readings(tokens: Sequence[int], decode: Decode) -> Iterable[str]:
    """The text as it is shown, and, where that is known, with its special tokens."""
    yield decode(list(tokens))
    if hasattr(decode, "with_special"):
        yield decode.with_special(list(tokens))


def before_stop(tokens: Sequence[int], stop: tuple[str, ...], decode: Decode) -> str:
    """The text of a reply without the stop string that ended it.

    Args:
      tokens: the reply, cut at the token that completes a stop string, if one does.
      stop: the strings.
      decode: as `completing_token`.
    """
    text = decode(list(tokens))
    places = [text.find(mark) for mark in stop]
    found = min([place for place in places if place >= 0], default=len(text))
    return text[: min(found, len(text) - special_stop(tokens, stop, decode))]


def special_stop(tokens: Sequence[int], stop: tuple[str, ...], decode: Decode) -> int:
    """How many characters at the end of the shown text belong to a stop string that ends with or in a special token.

    0 where none has ended the reply.
    """
    if not stop or not tokens or not hasattr(decode, "with_special"):
        return 0
    reach = max(len(s.encode(errors="surrogatepass")) for s in stop) + MARGIN
    tail = list(tokens[-reach:])
    marked = decode.with_special(tail)
    begins = [place for s in stop if (place := marked.rfind(s)) >= 0 and s not in decode(tail)]
    if not begins:
        return 0
    # The tokens from the one in which the string begins; what they show of it is what stands after its first character.
    first = max(i for i in range(len(tail)) if len(decode.with_special(tail[:i])) <= min(begins))
    shown = len(decode(tail)) - len(decode(tail[:first]))
    return max(0, shown - (min(begins) - len(decode.with_special(tail[:first]))))


def closed_by_prompt(
    prompt: Sequence[int], close: Sequence[int], stop_ids: Iterable[int], decode: Decode
) -> bool:
    """Whether the turn that the prompt has opened holds a think block that is closed already.

    Args:
      prompt: its tokens.
      close: the token that closes a block, and what follows it; () if there is none.
      stop_ids: tokens that end a turn.
      decode: as `completing_token`.
    """
    if not close or close[0] not in prompt:
        return False
    last = len(prompt) - 1 - list(reversed(prompt)).index(close[0])
    rest = list(prompt[last + 1 :])
    if rest in ([], list(close[1:])):
        return True
    # Text may follow in the same turn; the marks of another turn end with a stop token or are special tokens.
    ends, special = set(stop_ids), len(set(_readings(rest, decode))) > 1
    return bool(ends) and not special and not ends & set(rest)
