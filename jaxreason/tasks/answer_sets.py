r"""Sets of numbers, written as intervals or as inequalities: `(0,\infty)` and `x > 0`."""

import re

from jaxreason.tasks.answer_names import NAME, VARIABLE
from jaxreason.tasks.latex_answers import read_value
from jaxreason.tasks.sympy_values import same_value

RELATION = re.compile(r"(<=|>=|<|>|\\(?:leqslant|geqslant|leq?|geq?|lt|gt|neq?)(?![A-Za-z]))")
JOINED = re.compile(
    r"\\(?:text|mbox|mathrm)\s*\{\s*(and|or)\s*\}|\b(and|or)\b|\\(cup|lor|land|cap|vee|wedge)\b|(,)"
)
# |x-2| < 3
DISTANCE = re.compile(
    r"\s*(?:\||\\lvert)\s*([A-Za-z])\s*([-+][^|<>=\\]*)?(?:\||\\rvert)\s*"
    rf"((?!\\ne){RELATION.pattern[1:-1]})([^<>|=A-Za-z\\]+)"
)
POINT = re.compile(r"\s*([A-Za-z])\s*=([^<>=A-Za-z]+)")
NAMED = {"or": "or", "cup": "or", "lor": "or", "vee": "or"}


def is_inequality(text: str) -> bool:
    r"""Returns whether a text contains <, > or \ne."""
    return RELATION.search(text) is not None


def same_set(gold: str, answer: str) -> bool | None:
    """Returns whether two intervals (or unions), or inequalities with the same name, are the same set of numbers.

    Returns None if they have other names or one of them is not such a set.
    """
    if is_inequality(gold) and is_inequality(answer) and letters_of(gold) != letters_of(answer):
        return None  # x > 3 and y > 3
    sets = [read_set(gold), read_set(answer)]
    parts = [] if None in sets else list(map(_parts, sets))
    return None if not parts or None in parts else _same_parts(*parts)


def letters_of(text: str) -> set[str]:
    """Returns the letters of a text that are not part of a command or a word."""
    bare = re.sub(r"\\(?:text|mbox|mathrm)\s*\{[^{}]*\}|\\mathbb\s*\{?R\}?|\\[A-Za-z]+", " ", text)
    return {*re.findall("[A-Za-z]", re.sub(r"\b(?:and|or)\b", " ", bare))}


def read_set(text: str):
    """Returns a text as a sympy set of real numbers, or None if it is not one."""
    from sympy import Intersection, Set, Union

    if not is_inequality(text):
        value = read_value(re.sub(rf"^{NAME}\s*\\in\b\s*(?=[(\[\\])", "", text))
        return value.doit() if isinstance(value, Set) else None
    text = re.sub(
        r"^\\\{\s*\w+\s*(?:\\in\s*\\mathbb\s*\{?R\}?\s*)?(?:\\mid|:|\|)(.*)\\\}$", r"\1", text
    )
    text = _without_bars(re.sub(r"\\q?quad(?![A-Za-z])", " ", text))
    text = re.sub(  # x \ne 2, 3
        r"^\s*([A-Za-z])\s*(\\neq?(?![A-Za-z]))([^<>A-Za-z\\]+)$", _each_excluded, text
    )
    pieces = JOINED.split(text)
    words = {next(filter(None, match.groups())) for match in JOINED.finditer(text)}
    join = Union if {NAMED.get(word, "and") for word in words} == {"or"} else Intersection
    names, sets = set(), []
    for piece in pieces[:: 1 + JOINED.groups]:
        found = _chain(piece)
        if found is None:
            return None
        names.add(found[0])
        sets.append(found[1])
    if len(names) != 1:
        return None
    numbers = join(*sets)
    return Union(*sets) if words == {","} and numbers.is_empty else numbers  # 1<x<2, 3<x<4


def _without_bars(text: str) -> str:
    r"""Returns `|x-2|<3` as `-(3)-(-2) < x < (3)-(-2)`, and `|x|>1` as two inequalities; others are unchanged."""
    found = DISTANCE.fullmatch(text)
    if found is None:
        return text
    name, shift, sign, bound = found.groups()
    shift, strict = f"-({shift or 0})", r"\lt" if sign in ("<", ">", r"\lt", r"\gt") else r"\le"
    low, high = f"-({bound}){shift}", f"({bound}){shift}"
    if sign[0] == "<" or sign.startswith(r"\l"):
        return rf"{low} {strict} {name} {strict} {high}"
    return rf"{name} {strict} {low} \text{{ or }} {high} {strict} {name}"


def _each_excluded(match: re.Match) -> str:
    name, sign, values = match.groups()
    return ",".join(f"{name} {sign} {value}" for value in values.split(","))


def _chain(text: str):
    """Returns the name and the set of one chain of inequalities, `0 < x \\le 5`, or None."""
    from sympy import FiniteSet, Intersection, Interval, Union, oo

    if point := POINT.fullmatch(text):
        value = read_value(point[2])
        found = FiniteSet(value) if getattr(value, "is_number", False) else None
        return None if found is None else (point[1], found)
    parts = RELATION.split(text)
    sides, signs = [part.strip() for part in parts[::2]], parts[1::2]
    names = [side for side in sides if VARIABLE.fullmatch(side) or re.fullmatch(NAME, side)]
    if len(names) != 1 or not signs or len(signs) > 2:
        return None
    where = sides.index(names[0])
    limits = []
    for number, side in enumerate(sides):
        if number == where:
            continue
        value = read_value(side)
        if abs(number - where) != 1 or not getattr(value, "is_number", False):
            return None
        value = value.doit()  # Per cent is left to be computed.
        if value.is_extended_real is False:  # An inequality with i has no meaning.
            return None
        sign = signs[min(number, where)]
        if sign.startswith(r"\ne"):
            limits.append(Union(Interval.open(-oo, value), Interval.open(value, oo)))
            continue
        below = ("<" in sign or re.match(r"\\l", sign) is not None) == (number < where)
        limits.append(_ray(value, below, sign in ("<", ">", r"\lt", r"\gt")))
    return names[0], Intersection(*limits)


def _ray(value, below: bool, open_end: bool):
    """Returns the numbers above a lower bound, or below an upper one."""
    from sympy import Interval, oo

    return Interval(value, oo, open_end, True) if below else Interval(-oo, value, True, open_end)


def _parts(numbers) -> list | None:
    """Returns the intervals of a set in order; None for other kinds of sets."""
    from sympy import FiniteSet, Interval, Union

    found = []
    left = [numbers]
    while left:
        part = left.pop()
        if isinstance(part, Union):  # The parser nests unions.
            left += part.args
            continue
        if part.is_empty:
            continue
        if isinstance(part, FiniteSet) and all(point.is_number for point in part.args):
            found += [Interval(point, point) for point in part.args]
        elif isinstance(part, Interval):
            found.append(part)
        else:
            return None
    found = [(float(getattr(p, "start", p.args[0]).evalf()), p) for p in found]
    return [part for _, part in sorted(found, key=lambda pair: pair[0])]


def _same_parts(gold: list, answer: list) -> bool:
    return len(gold) == len(answer) and all(map(same_value, gold, answer))
