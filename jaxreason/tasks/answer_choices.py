r"""Letters of choices in mathematics: `\textbf{(B)}\ 12` is the choice B, and 12."""

import re

from jaxreason.tasks.answer_words import TEXT

_COMMAND = rf"(?:{TEXT}\{{)?\s*"
ALONE = re.compile(
    rf"{_COMMAND}(?:[Oo]ption|[Cc]hoice|[Aa]nswer:?)?[\s~]*\(?\s*([A-E])\s*\)?\s*\}}?[\s.]*"
)
LABELLED = re.compile(
    rf"{_COMMAND}(?:\(([A-E])\)|([A-E])[).:])(?:[\s~}}]|\\q?quad(?![A-Za-z])|\\[ ,;:])+(?P<rest>.*\w.*)"
)
SEPARATOR = re.compile(rf"{TEXT}\{{|[{{}}()\s,;.]|\\q?quad(?![A-Za-z])|\\[,; ]|\band\b")
# Another choice, or words that take the first one back.
OTHER = re.compile(r"(?<![A-Za-z\\])[A-E](?![A-Za-z])|\b(?:not|wrong|incorrect|or|and)\b")


def choice_alone(gold: str, answer: str) -> tuple[str, str]:
    """Returns two answers as letters if one is a letter and the other has one, perhaps before a text; or unchanged.

    Letters of several choices are written in one way: `A, C` and `(A) and (C)` as `AC`.
    """
    letters = letter_of(gold), letter_of(answer)
    found = letters[0] or label_of(gold), letters[1] or label_of(answer)
    if not any(letters):
        found = letters_of(gold), letters_of(answer)
    return (found[0], found[1]) if all(found) else (gold, answer)


def letter_of(text: str) -> str | None:
    """Returns the letter of an answer that is only that, `B` or `\\text{(B)}`; None for others."""
    match = ALONE.fullmatch(text.strip())
    return match[1] if match else None


def label_of(text: str) -> str | None:
    """Returns the letter before the text of a choice; None without one, or if other letters follow."""
    match = LABELLED.fullmatch(text.strip())
    return (match[1] or match[2]) if match and not OTHER.search(match["rest"]) else None


def letters_of(text: str) -> str | None:
    """Returns the letters of an answer that is several different ones, in their order; None for others."""
    bare = SEPARATOR.sub("", text)
    return bare if re.fullmatch(r"[A-F]{2,6}", bare) and [*bare] == sorted({*bare}) else None
