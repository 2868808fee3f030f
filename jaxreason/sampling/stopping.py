"""Stop strings: finding the token of a reply that completes one of them."""

from collections.abc import Callable, Sequence

MARGIN = 8  # tokens decoded before a match could begin: a cut character or a dropped leading space stays in them


def completing_token(
    tokens: Sequence[int], checked: int, stop: tuple[str, ...], decode: Callable[[list[int]], str]
) -> int | None:
    """How many tokens of the reply there are when the first stop string is complete, or None.

    Strings are found across token borders. Only a tail is decoded: a token that adds text adds at least one byte, so
    a string of n bytes lies within n tokens (tokens without text in between excepted).

    Args:
      tokens: the reply so far.
      checked: how many of its first tokens were looked at before, without a find.
      stop: the strings; with none, nothing is decoded.
      decode: token ids to text.
    """
    if not stop or checked >= len(tokens):
        return None
    reach = max(len(s.encode(errors="surrogatepass")) for s in stop) + MARGIN
    begin = max(0, checked + 1 - reach)
    if not _has_any(decode(list(tokens[begin:])), stop):
        return None
    for end in range(checked + 1, len(tokens)):
        if _has_any(decode(list(tokens[max(0, end - reach) : end])), stop):
            return end
    return len(tokens)


def _has_any(text: str, stop: tuple[str, ...]) -> bool:
    return any(s in text for s in stop)
