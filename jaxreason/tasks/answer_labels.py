r"""Names before values: `x=1, y=2`, `AB=9`. Values are compared with those of the same name."""

import re

from jaxreason.tasks.answer_lists import NAME, Same, match_all, sides_of

COORDINATES = set("xyz")


def label_of(text: str) -> str | None:
    """Returns the name in an equation, `x = 5` or `5 = x`, without spaces and in small letters; or None."""
    sides = sides_of(text)
    found = [side for side in (sides[0], sides[-1]) if re.fullmatch(NAME, side)]
    return re.sub(r"[\s{}]", "", found[0]).lower() if len(sides) > 1 and found else None


def clash(gold: str, answer: str, origins: dict[str, str]) -> bool:
    """Returns whether two equations are about different things: x and y, y and y', x and -x, x and 2x.

    Other names differ freely: the unknown of a gold n = 5 may be called k.

    Args:
      gold: the gold equation.
      answer: the other.
      origins: the old letters of those that have got a new name (`answer_symbols.py`).
    """
    left, names = sides_of(answer)[0], (label_of(gold), label_of(answer))
    if re.fullmatch(rf"-\s*{NAME}", left):
        return True  # -x = 5
    if names[0] and names[1] is None:  # 2x = 5
        letters = re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", left.lower())
        return names[0].partition("(")[0] in letters
    if None in names or names[0] == names[1]:
        return False
    others = [re.sub(r"\s", "", side).lower() for side in sides_of(answer)[:-1]]
    if names[0] in others:
        return False  # y = x = 3
    heads = [name.partition("(")[0] for name in names if name]
    renamed = [origins.get(head, head) for head in heads]
    return set(heads) <= COORDINATES or (heads[0] != heads[1] and renamed[0] == renamed[1])


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
