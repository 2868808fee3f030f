r"""Points and vectors: `(1, 2)` is `x=1, y=2` and a matrix of one column."""

import re

from jaxreason.tasks.answer_lists import is_group, sides_of, split_list, split_outside

COLUMN = re.compile(r"\\begin\s*\{([bp]?matrix)\}((?:(?!\\begin|\\end)[^&])*)\\end\s*\{\1\}")
NAMES = re.compile(r"\([A-Za-z_\d{}, ]+\)\s*=\s*(?=\()")  # (x,y) = (1,2)
# A point that is written as the transpose of a row.
UPRIGHT = re.compile(
    r"^[(\[]([^()\[\]]*,[^()\[\]]*)[)\]]\s*\^\s*(?:T|\{\s*T\s*\}|\{?\s*\\top\s*\}?)$"
)
NAMED = re.compile(r"[A-Za-z](?:_\{?\w\}?)?")


def as_points(gold: str, answer: str, question: str = "") -> tuple[str, str]:
    r"""Returns two answers in one notation: `x=1, y=2` and columns as points if the other answer is one.

    The order of the coordinates is that of a point `(x,y)` in the other answer, else in the question, else that of the
    alphabet.
    """
    gold, answer = (UPRIGHT.sub(r"(\1)", text) for text in (gold, answer))
    points = split_list(NAMES.sub("", gold))
    if not all(map(is_point, points)):
        found = split_list(NAMES.sub("", answer))
        if not all(map(is_point, found)):
            return gold, answer
        return named_points(found, gold, f"{question} {answer}") or row(gold), answer
    return gold, named_points(points, answer, f"{question} {gold}") or row(answer)


def is_point(text: str) -> bool:
    """Returns whether a text is one point, `(1, 2)`, or an open interval."""
    return is_group(text) and text[0] + text[-1] == "()"


def named_points(points: list[str], answer: str, question: str) -> str | None:
    """Returns `x=1, y=2` as points, as many and of the same size as the given ones; None for other answers."""
    members = [sides_of(member) for member in split_list(answer)]
    named = all(len(sides) == 2 and NAMED.fullmatch(sides[0]) for sides in members)
    names = {sides[0] for sides in members}
    sizes = {len(split_outside(point[1:-1], ",")) for point in points}
    if not named or sizes != {len(names)} or len(members) != len(names) * len(points):
        return None
    order, starts = order_of(names, question), range(0, len(members), len(names))
    groups = [dict(members[start : start + len(names)]) for start in starts]
    if any(set(group) != names for group in groups):
        return None
    return ", ".join(f"({', '.join(group[name] for name in order)})" for group in groups)


def order_of(names: set[str], question: str) -> list[str]:
    """Returns names in the order of a point of the question, `(y,x)`, else in that of the alphabet."""
    bare = {re.sub(r"[\s{}]", "", name): name for name in names}
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])|\\[,; ]|[\s{}]", "", question)
    points = [match[1].split(",") for match in re.finditer(r"\(([^()]{1,99})\)", text)]
    asked = [point for point in points if len(point) == len(bare) and set(point) == set(bare)]
    return [bare[name] for name in (asked[-1] if asked else sorted(bare))]


def row(text: str) -> str:
    """Returns a matrix of one column as a point; other texts are unchanged."""
    match = COLUMN.fullmatch(text.strip())
    if match is None:
        return text
    entries = [entry.strip() for entry in match[2].split(r"\\")]
    entries = entries if entries[-1] else entries[:-1]
    return f"({', '.join(entries)})" if len(entries) > 1 and all(entries) else text
