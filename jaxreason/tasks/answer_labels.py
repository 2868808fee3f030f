r"""Names before values: `x=1, y=2`, `AB=9`. Values are compared with those of the same name."""

import re

from jaxreason.tasks.answer_lists import NAME, Same, match_all, sides_of
from jaxreason.tasks.answer_names import is_name, is_of_other_value, symbols_of

COORDINATES = set("xyz")
# Notations of one name: the length of a segment, a probability, a mean.
SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"[\s{}]|\\(?:vec|mathbf|mathcal)(?![A-Za-z])", ""),
        (r"\\[lr]vert|\\mid", "|"),
        (r"\\rightarrow", r"\\to"),
        (r"^m(?=\\angle)", ""),
        (r"^\\(?:overline|overrightarrow|bar)(?=[A-Z][_\d']*[A-Z])", ""),
        (r"^\|([A-Z][_\d']*[A-Z][A-Z_\d']*)\|$", r"\1"),
        (r"\\overline", r"\\bar"),
        (r"\\wide(?=hat|tilde)", r"\\"),
        (r"^\\(?:mathbb|mathrm|operatorname|text)(?=P|E|Var)", ""),
        (r"^\\?Pr(?=[(\[])", "P"),
        (r"^([PE]|Var)\[(.*)\]$", r"\1(\2)"),
        (r"^(\\(?:sin|cos|tan|cot|sec|csc)(?:\^\d)?)(?:\((\\?\w+)\)|\\angle(\w+))$", r"\1\2\3"),
        (r"^(\\(?:max|min|sup|inf))_[a-z](?=[A-Za-z])", r"\1"),
        (r"^(\\(?:max|min|sup|inf)\w+|\w+\^-1)\([a-z]\)$", r"\1"),
        (r"^\\det([A-Za-z])$", r"|\1|"),
    ]
]
# Names of what an operation gives. A variable may have another letter, these may not: \cos A is not \sin A.
OPERATION = re.compile(
    r"\||\^|\\circ|\(-?\d|^\[|^(?:p|e|var)\((?![a-z](?:,[a-z])*\)$)"
    r"|(?<!_)\\(?:bar|hat|tilde|d?dot|sin|cos|tan|cot|sec|csc|max|min|sup|inf|det|deg|dim|arg|frac|lim)"
)
EXTREME = re.compile(r"_\\?(max|min)")
# What they may be called for short: P, L, M, f_{\max}, S. A quotient of lengths may be a sine.
SHORT = [
    (re.compile(long), re.compile(short))
    for long, short in [
        (r"^p\(", "p"),
        (r"^e\(", "e"),
        (r"^\\lim", "l"),
        (r"^\\max", r"m|\w_\\?max"),
        (r"^\\min", r"m|\w_\\?min"),
        (r"^\[", r"[^\[|\\(^]+"),
        (r"^\\frac", r"(?!\\frac).*"),
    ]
]


def label_of(text: str) -> str | None:
    """Returns the name in an equation, `x = 5` or `5 = x`, without spaces and in small letters; or None."""
    name = _name(sides_of(text))
    return None if name is None else _spelled(name).lower()


def _name(sides: list[str]) -> str | None:
    """Returns the side of an equation that names the value of the others; or None."""
    first, last = sides[0], sides[-1]
    if len(sides) < 2:
        return None
    if re.fullmatch(NAME, first) or is_name(first, last):
        return first
    named = re.fullmatch(NAME, last) or (is_name(last, first) and not symbols_of(first))
    return last if named else None


def _spelled(name: str) -> str:
    """Returns a name without spaces, in one of its notations."""
    for pattern, replacement in SPELLINGS:
        name = pattern.sub(replacement, name)
    return name


def clash(gold: str, answer: str, origins: dict[str, str]) -> bool:
    r"""Returns whether two equations are about different things: x and y, y and y', x and 2x, \sin A and \cos A.

    Other names differ freely: the unknown of a gold n = 5 may be called k.

    Args:
      gold: the gold equation.
      answer: the other.
      origins: the old letters of those that have got a new name (`answer_symbols.py`).
    """
    sides, names = sides_of(answer), (label_of(gold), label_of(answer))
    if sides[0].startswith("-") and is_name(sides[0][1:], sides[-1]):
        return True  # -x = 5
    if names[0] and names[1] is None:
        return _contains(sides[0], names[0])
    if None in names or names[0] == names[1]:
        return False
    if names[0] in [_spelled(side).lower() for side in sides[:-1]]:
        return False  # y = x = 3
    return _differ(*names, origins) or _other_argument(gold, answer)


def _contains(side: str, name: str) -> bool:
    """Returns whether a side that is no name computes with one: 2x and x, |z|^2 and |z|."""
    if OPERATION.search(name) and not name.startswith("|"):
        return name in _spelled(side).lower()
    head = name.strip("|").partition("(")[0]
    commands = set(re.findall(r"\\[A-Za-z]+", side))
    return head in commands | {*re.findall(r"(?<![A-Za-z\\])[a-z](?![A-Za-z])", side.lower())}


def _differ(gold: str, answer: str, origins: dict[str, str]) -> bool:
    """Returns whether two different labels cannot be names of one thing."""
    if OPERATION.search(gold) or OPERATION.search(answer):
        pairs = [(gold, answer), (answer, gold)]
        return not any(a.match(x) and b.fullmatch(y) for a, b in SHORT for x, y in pairs)
    extremes = [EXTREME.findall(name) for name in (gold, answer)]
    if all(extremes) and extremes[0] != extremes[1]:
        return True
    heads = [name.partition("(")[0] for name in (gold, answer)]
    if heads == ["", ""]:
        return sorted(gold) == sorted(answer)  # (x,y) and (y,x)
    renamed = [origins.get(head, head) for head in heads]
    return set(heads) <= COORDINATES or (heads[0] != heads[1] and renamed[0] == renamed[1])


def _other_argument(gold: str, answer: str) -> bool:
    """Returns whether two names are of other events, P(A) and P(B), other statistics or opposite vectors."""
    names = [_name(sides_of(text)) or "" for text in (gold, answer)]
    spelled = [*map(_spelled, names)]
    if any(re.match(r"\\(?:vec|overrightarrow)(?![A-Za-z])", name) for name in names):
        return len(spelled[0]) > 1 and spelled[0] == spelled[1][::-1]
    found = [re.fullmatch(r"([A-Za-z]+)\(([A-Z,]+)\)", name) for name in spelled]
    if not all(found):
        return False
    heads, events = {match[1] for match in found}, {match[2] for match in found}
    return len(events) > 1 if len(heads) == 1 else heads <= {"P", "E", "Var"}


def are_other_operations(gold: str, answer: str) -> bool:
    r"""Returns whether two equations give numbers for two operations: P(\text{win}) and P(\text{lose}).

    The parser drops the words and the limits, so this must be asked before the equations are compared as a whole.
    """
    if symbols_of(sides_of(gold)[-1]) or symbols_of(sides_of(answer)[-1]):
        return False
    names = [label_of(text) or "" for text in (gold, answer)]
    known = [OPERATION.search(name) and not name.startswith("\\frac") for name in names]
    return all(known) and names[0] != names[1]


def gives_other_value(sides: list[str], question: str, origins: dict[str, str]) -> bool:
    """Returns whether a chain `2x = 4 + 1 = 5` gives the value of 2x, and neither a name nor the question has 2x."""
    *firsts, value = sides
    if any(is_name(side, value) for side in firsts):
        return False
    return any(
        is_of_other_value(side, value)
        and not (set(side) & set(origins) or is_asked(side, question))
        for side in firsts
    )


def is_asked(side: str, question: str) -> bool:
    """Returns whether a question has a side of an equation, and not only as a part of another expression."""
    parts = re.findall(r"\\[A-Za-z]+|[^\s{}]", side)
    written = r"[\s{}]*".join(
        r"\\[dt]?frac" if part == r"\frac" else re.escape(part) for part in parts
    )
    around = rf"(?<![\w+*/^=<>\\-])(?<![+*/^=<>-]\s){written}(?![\s{{}}]*[+*/^=<>-]|\w)"
    return re.search(around, question) is not None


def match_named(wanted: list[str], found: list[str], same: Same, question: str = "") -> bool:
    """Returns whether two lists can be paired so that the value of each name is the same.

    `x=1, y=2, x=3, y=4` are two solutions; these may change places, x and y may not. If only the gold answer has
    names, the values must have its order. Members of one name, and names of roots that only the writer has numbered
    (x_1, x_2), may have any order.
    """
    names, others = [label_of(text) for text in wanted], [label_of(text) for text in found]
    size = len(set(names))
    if None in names or size == 1 or len(wanted) != len(found) or numbered(names, question):
        return match_all(wanted, found, same)
    if set(names) == set(others):
        groups = solutions(wanted, names, size), solutions(found, others, size)
    else:
        groups = solutions(wanted, names, size), chunks(found, size)
    if groups[0] is None:
        return match_all(wanted, found, same)
    if groups[1] is None:
        return False
    if set(names) != set(others):
        groups = chunks(wanted, size), groups[1]
    left = list(groups[1])
    for gold in groups[0]:
        partner = next((group for group in left if all(map(same, gold, group))), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def solutions(members: list[str], names: list, size: int) -> list[list[str]] | None:
    """Returns the solutions of a list, each sorted by its names; None if one of them lacks a name."""
    pairs = list(zip(names, members))
    groups = [sorted(pairs[start : start + size]) for start in range(0, len(pairs), size)]
    if any([name for name, _ in group] != sorted(set(names)) for group in groups):
        return None
    return [[member for _, member in group] for group in groups]


def chunks(members: list[str], size: int) -> list[list[str]]:
    """Returns a list in parts of equal size."""
    return [members[start : start + size] for start in range(0, len(members), size)]


def numbered(names: list, question: str) -> bool:
    """Returns whether all names are one letter with numbers that the question does not use."""
    letters = {re.sub(r"_\d+$", "", name) for name in names}
    bare = re.sub(r"[\s{}]", "", question).lower()
    return len(letters) == 1 and not any(name in bare for name in names)
