r"""Remarks on a letter behind an answer: `2k\pi, k \in \mathbb{Z}`, `f(x)=x \text{ for all } x`.

If only one of two answers has such a remark, or both say the same of it, the remark does not count, and a letter that
it introduces may have another name.
"""

import re
from dataclasses import dataclass

from jaxreason.tasks.answer_lists import unlabel
from jaxreason.tasks.answer_names import symbols_of, with_letter
from jaxreason.tasks.answer_words import TEXT

# What may stand before a remark, and between its words.
_BEFORE = rf"(?:[\s,;:(]|\\q?quad(?![A-Za-z])|{TEXT}\{{)+"
_GAP = rf"(?:[\s,()}}]|{TEXT}\{{)*"
_LETTER = r"(?P<letter>[A-Za-z])(?![A-Za-z])"
_ALL = r"(?:\b(?:all|any|every|each|some|an?|arbitrary)\b|\\forall(?![A-Za-z]))"
_KIND = r"(?P<kind>integers?|real(?:\s+numbers?)?s?|(?:real\s+)?constants?)\b"
_SET = r"\\(?:mathbb|mathbf|Bbb)\s*(?:\{\s*(?P<set>[ZR])\s*\}|(?P<bare_set>[ZR])(?![A-Za-z]))"
_FORMS = [
    rf"(?:(?:for|where|with|and)\b{_GAP})?(?:{_ALL}{_GAP})?{_LETTER}{_GAP}\\in\s*{_SET}",
    rf"(?:where|with|and){_GAP}{_LETTER}{_GAP}is{_GAP}(?:(?:an?|any|arbitrary)\s+){{1,2}}{_KIND}",
    rf"(?:for|where|with){_GAP}(?:{_ALL}{_GAP})?{_KIND}{_GAP}{_LETTER}",
    rf"(?:for{_GAP}{_ALL}|\\forall){_GAP}{_LETTER}",
]
REMARKS = [re.compile(rf"{_BEFORE}{form}{_GAP}\.?$") for form in _FORMS]
RELATION = re.compile(
    r"[<>\u2260\u2264\u2265]|\\(?:[lg]eq?q?(?:slant)?|ne|neq|in|notin)(?![A-Za-z])"
)


@dataclass(frozen=True)
class Ranged:
    """An answer without its remark, the letter that the remark is about, and the set: "Z", "R", "c" or ""."""

    rest: str
    letter: str
    kind: str


def without_ranges(gold: str, answer: str) -> tuple[str, str]:
    """Returns both answers without remarks on a letter, which has the same name in both; or unchanged."""
    found = ranged(gold), ranged(answer)
    kinds = {one.kind for one in found if one and one.kind}
    if len(kinds - {"c"}) > 1 or not any(found):
        return gold, answer
    gold, answer = (one.rest if one else text for one, text in zip(found, (gold, answer)))
    if found[1] and found[1].kind:
        return gold, renamed(answer, found[1].letter, gold, found[0] and found[0].letter)
    if found[0] and found[0].kind:
        return renamed(gold, found[0].letter, answer, None), answer
    return gold, answer


def ranged(text: str) -> Ranged | None:
    """Returns the parts of an answer with a remark at its end; None without one, or if it narrows an inequality."""
    for pattern in REMARKS:
        match = pattern.search(text)
        if match is None:
            continue
        rest, said = text[: match.start()].strip(), match.groupdict()
        kind = said.get("set") or said.get("bare_set") or _set_of(said.get("kind") or "")
        whole = rest.count("{") == rest.count("}") and rest.count("(") == rest.count(")")
        narrowed = kind == "Z" and RELATION.search(rest)
        if whole and not narrowed and said["letter"] in symbols_of(rest):
            return Ranged(rest, said["letter"], kind)
    return None


def _set_of(word: str) -> str:
    """Returns "Z" for integers, "R" for real numbers, "c" for constants and "" without a word."""
    if "constant" in word:
        return "c"
    return {"i": "Z", "r": "R"}.get(word[:1], "")


def renamed(text: str, letter: str, other: str, wanted: str | None) -> str:
    """Returns a text whose letter has the name that it has in another text: the wanted one, or the only one there."""
    symbols = symbols_of(text)
    new = {wanted} if wanted else symbols_of(unlabel(other)) - symbols
    if letter in symbols_of(other) or len(new) != 1 or new <= symbols:
        return text
    return with_letter(text, letter, *new)
