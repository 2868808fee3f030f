r"""Letters that look alike and are not the same: R and r, y and y', \Delta and \delta.

The parser makes every letter small and drops primes, and the comparison of texts makes letters small too. So letters
that must stay apart get other names, the same in both answers, before the answers are compared. Products of vectors get
one too, because the parser takes \times and \cdot for the same.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from jaxreason.tasks.answer_lists import NAME
from jaxreason.tasks.answer_units import unit_of

FREE = "qwvustjlbmpkzyxcahfgnro"  # New names; d, e and i have a meaning of their own.
# Letters that are written in both cases without a meaning: unknowns, constants, e, litres.
UNKNOWNS = set("xyzntkcel")
PRIMES = r"(?:\s*(?:['\u2019\u2032]|\^\s*(?:\{\s*(?:\\prime\s*)+\}|\\prime(?![A-Za-z]))))+"
VECTOR = r"\\(?:vec|overrightarrow)\s*(?:\{[^{}]*\}|[A-Za-z])"
WORD = (
    r"\\(?:text(?:rm|it|bf|normal)?|mbox|operatorname|math[a-z]+|begin|end)\s*(?:\{[^{}]*\}|[A-Za-z])"
    r"|\b[A-Z][a-z]{2,}\b"
)
TOKEN = re.compile(
    rf"(?P<cross>{VECTOR}\s*\\times\s*{VECTOR})|(?P<word>{WORD})|(?P<behind>[)\]}}]|\\[A-Za-z]+)"
    rf"(?P<loose>{PRIMES})|(?P<command>\\[A-Za-z]+)|(?P<letter>[A-Za-z])(?P<primes>{PRIMES})?"
)
POINT = re.compile(rf"^\s*([A-Z]){PRIMES}(?=\s*\([^()]*,[^()]*\)\s*$)")
PART = r"((?:[^\\]|\\[^()\[\]])*)"
MATHS = re.compile(rf"\$([^$]*)\$|\\\({PART}\\\)|\\\[{PART}\\\]")
ALONE = re.compile(r"(?<![A-Za-z\\'\u2019])(?![aAI])[A-Za-z](?![A-Za-z'\u2019])")
LABELS = re.compile(rf"(?:^|(?<=,))\s*{NAME}\s*=")
FORMULA = re.compile(r"[\d+*/^=-]|\\(?!text|mathrm|mathbf)[a-z]")
# 1A_{16} and 3:20 P.M.
NUMBER = re.compile(r"_\{?1[1-6]\}?\s*$|\d\s*[APap]\.?\s?[Mm]\b")
CHOICES = set("abcdefgh")


def kept_apart(gold: str, answer: str, question: str) -> tuple[str, str, dict[str, str]] | None:
    """Returns both answers with new names for letters that must stay apart, and the old letter of each new name.

    Returns None if there are more such letters than names.
    """
    gold, answer = (POINT.sub(r"\1", text) for text in (gold, answer))  # A'(1,2) is a point.
    split = _split_cases(gold, answer, question)
    keys = {key for text in (gold, answer) for key, _ in _tokens(text, split) if key is not None}
    if not keys:
        return gold, answer, {}
    used = set((gold + answer).lower())
    free = [letter for letter in FREE if letter not in used]
    if len(free) < len(keys):
        return None
    names = dict(zip(sorted(keys), free))
    renamed = [
        "".join(
            part if key is None else _named(key, part, names) for key, part in _pieces(t, split)
        )
        for t in (gold, answer)
    ]
    return renamed[0], renamed[1], {new: key.rstrip("'").lower() for key, new in names.items()}


def _named(key: str, part: str, names: dict[str, str]) -> str:
    """Returns the new text of a token; a prime behind a bracket or a Greek letter becomes a factor."""
    if not key.startswith("'"):
        return f" {names[key]} " if key.startswith("\\") else names[key]
    return f"{re.sub(PRIMES + '$', '', part)} {names[key]}"


def _pieces(text: str, split: set[str]) -> Iterator[tuple[str | None, str]]:
    """Yields all parts of a text in order, each with its key if it is to be renamed."""
    start = 0
    for key, match in _tokens(text, split):
        yield None, text[start : match.start()]
        yield key, match[0]
        start = match.end()
    yield None, text[start:]


def _tokens(text: str, split: set[str]) -> Iterator[tuple[str | None, re.Match[str]]]:
    """Yields the tokens of a text, each with a key if it is to be renamed: R, y', \\Delta, a product of vectors."""
    for match in TOKEN.finditer(text):
        if match["cross"]:
            yield re.sub(r"[\s{}]", "", match[0]), match
        elif match["loose"]:
            yield _marks(match["loose"]), match
        elif match["primes"]:
            letter = match["letter"]
            plain = letter if letter.lower() in split else letter.lower()
            yield plain + _marks(match["primes"]), match
        else:
            name = match["letter"] or (match["command"] or "").lstrip("\\")
            capital = name[:1].isupper() and name.lower() in split
            yield match[0] if capital else None, match


def _marks(primes: str) -> str:
    return "'" * (len(re.findall("['\u2019\u2032]", primes)) + primes.count("prime"))


def _split_cases(gold: str, answer: str, question: str) -> set[str]:
    """Returns the letters and Greek letters, in small, whose two cases are two symbols."""
    found = _names(gold), _names(answer)
    both = _both_cases(found[0] | found[1])
    if not both:
        return both
    split = {name for name in both if len(name) > 1}
    split |= _both_cases(found[0]) | _both_cases(found[1])
    asked = _asked(question)
    bare = re.sub(r"\W", "", gold)
    split |= both & _both_cases(asked) - (CHOICES if len(bare) == 1 else set())
    if all(_is_formula(text) for text in (gold, answer)):
        unlabelled = [_names(LABELS.sub("", text)) for text in (gold, answer)]
        unknown = {name for name in both if not {name, name.upper()} & asked} - UNKNOWNS
        split |= unknown & _both_cases(unlabelled[0] | unlabelled[1])
    return split


def _is_formula(text: str) -> bool:
    """Returns whether the case of a letter can matter: the text is not a word, a quantity or a number with A to F."""
    return bool(FORMULA.search(text)) and not NUMBER.search(text) and unit_of(text) is None


def _names(text: str) -> set[str]:
    """Returns the letters outside of words, and the names of commands."""
    found = TOKEN.finditer(text)
    return {m["letter"] or (m["command"] or "").lstrip("\\") for m in found} - {""}


def _both_cases(names: set[str]) -> set[str]:
    """Returns, in small, the names that occur with a small and with a capital first letter; I is i."""
    return {n.lower() for n in names if n[0].isupper() and n != "I" and n.lower() in names}


@lru_cache(maxsize=256)
def _asked(question: str) -> frozenset[str]:
    """Returns the letters that a question uses as symbols."""
    maths = " ".join("".join(filter(None, match)) for match in MATHS.findall(question))
    return frozenset(_names(maths) | {*ALONE.findall(MATHS.sub(" ", question))})
