r"""Lists of answers: `1, (2, 3)`, `\{1, 2\}`, `x=1 \text{ or } x=2`, `1 \pm 2`."""

import re
from collections.abc import Callable

from jaxreason.tasks.answer_names import NAME, is_name
from jaxreason.tasks.answer_words import WORDS

JOINING = re.compile(
    r"(?P<joins>\\(?:text|mbox|mathrm)\s*\{[\s,]*(?:and|or)[\s,]*\}|;|\\quad|\\&)"
    rf"|{WORDS}|(?P<word>\b(?:and|or)\b)"
)
Same = Callable[[str, str], bool]


def same_list(gold: str, answer: str, same: Same, match: Callable[..., bool] | None = None) -> bool:
    """Returns whether `match` pairs both lists (by default in any order); 2,500 may be one member or two."""
    wanted = split_list(gold)
    for joined in (answer, re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer)):
        found = split_list(joined)
        if len(found) == len(wanted) and (match or match_all)(wanted, found, same):
            return True
    return False


def match_all(wanted: list[str], found: list[str], same: Same) -> bool:
    """Returns whether the two lists can be paired. Equality is transitive, so the first match of each will do."""
    left = list(found)
    for gold in wanted:
        partner = next((item for item in left if same(gold, item)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def split_list(text: str) -> list[str]:
    r"""Returns the members of a list; a single answer is a list with one member."""
    text = JOINING.sub(_comma, text)
    if "=" in text:
        text = re.sub(r"\\(?:lor|vee)(?![A-Za-z])", ",", text)  # x=1 or x=2, and not p or q
    text = re.sub(
        rf"^(?:{NAME}|\([a-z](?:,\s*[a-z])+\))\s*(?:\\in|=)\s*(?=\\\{{)", "", text.strip()
    )
    if text.startswith(r"\{") and text.endswith(r"\}"):
        text = text[2:-2]
    members = [member for part in split_outside(text, ",") for member in both_signs(part)]
    return [member for member in members if member]


def _comma(match: re.Match) -> str:
    """Returns a comma for a joining word; other words, `\\text{ or more}`, stay."""
    return "," if match["joins"] or match["word"] else match[0]


def split_outside(text: str, mark: str) -> list[str]:
    """Returns the parts of a text between marks outside all brackets, with white space stripped."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == mark and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]


def has_comma(text: str) -> bool:
    """Returns whether a text has a comma outside brackets that is none of thousands."""
    return len(split_outside(re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text), ",")) > 1


def both_signs(text: str) -> list[str]:
    r"""Returns `a \pm b` as `a + b` and `a - b`."""
    if not re.search(r"\\pm|\\mp", text):
        return [text]
    upper = text.replace(r"\pm", "+").replace(r"\mp", "-")
    return [upper, text.replace(r"\pm", "-").replace(r"\mp", "+")]


def is_group(text: str) -> bool:
    """Returns whether a text is one bracketed pair, point or interval: (2,4), [1,2)."""
    return (
        text[:1] in ("(", "[")
        and text[-1:] in (")", "]")
        and len(split_list(text)) == 1
        and "," in text
    )


def sides_of(text: str) -> list[str]:
    r"""Returns the sides of a chain of equations, `x = 2 + 3 = 5`; a single side if there is no equals sign."""
    parts = split_outside(re.sub(r"(?<![<>!:\\=])=(?!=)", "\0", text), "\0")
    return [part.replace("\0", "=") for part in parts]


def unlabel(text: str) -> str:
    r"""Returns `f(x)=2x`, `m_{max}=2x` and `|AB|=5` without the name; other texts are unchanged."""
    sides = sides_of(text)
    return sides[1] if len(sides) == 2 and sides[1] and is_name(*sides) else text
