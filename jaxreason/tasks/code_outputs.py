"""When what a program printed or returned is what a test expects.

As LiveCodeBench compares: line by line without the space around, a line of numbers by value and not
by spelling. A number that the test writes as a decimal fraction may differ by a millionth, relative
or absolute, as the contests themselves allow; LiveCodeBench asks for every digit.
"""

from decimal import Decimal
from typing import Any

TOLERANCE = 1e-6


def same_output(expected: str, printed: str) -> bool:
    """Whether the printed text is the expected one."""
    wanted, found = (text.strip().split("\n") for text in (expected, printed))
    return len(wanted) == len(found) and all(map(_same_line, wanted, found))


def _same_line(expected: str, printed: str) -> bool:
    if expected.strip() == printed.strip():
        return True
    wanted, found = expected.split(), printed.split()
    return len(wanted) == len(found) and all(map(_same_number, wanted, found))


def _same_number(expected: str, printed: str) -> bool:
    """Whether both are numbers, and the same."""
    try:
        wanted, found = Decimal(expected), Decimal(printed)
        if wanted == found or not any(mark in expected for mark in ".eE"):
            return wanted == found
        return abs(wanted - found) <= Decimal(TOLERANCE) * max(1, abs(wanted))
    except (ArithmeticError, ValueError):  # no numbers, or as good as infinite ones
        return False


def same_value(expected: Any, found: Any) -> bool:
    """Whether a returned value is the expected one of JSON; a tuple counts as a list.

    Raises:
      RecursionError: for a value as deep as Python's stack.
    """
    if isinstance(expected, list):
        return (
            isinstance(found, (list, tuple))
            and len(expected) == len(found)
            and all(map(same_value, expected, found))
        )
    if isinstance(expected, float) and type(found) in (int, float):
        return expected == found or _close(expected, found)
    return expected == found


def _close(expected: float, found: int | float) -> bool:
    try:
        return abs(expected - found) <= TOLERANCE * max(1, abs(expected))
    except OverflowError:  # a whole number of hundreds of digits
        return False
