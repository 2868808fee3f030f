r"""Angles in degrees inside trigonometric functions: `\sin 30^\circ` is one half. The parser takes 30 for radians."""

import re

FUNCTION = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])\s*(?:\^\s*(?:\{\s*\d+\s*\}|\d)\s*)?"
)
DEGREES = re.compile(
    r"(\d+(?:\.\d+)?|\.\d+|[A-Za-z)])\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))"
)
FRACTION = re.compile(r"(-?\s*)\\frac\s*")
CLOSING = {"(": ")", "{": "}", "[": "]"}


def in_radians(text: str) -> str:
    r"""Returns a text with `\sin 30^\circ` as `\sin(30\pi/180)`; degrees elsewhere stay, since they are a unit."""
    if r"\circ" not in text:
        return text
    parts, start = [], 0
    for function in FUNCTION.finditer(text):
        if function.end() < start:
            continue  # A function inside the argument of another one.
        end = _argument_end(text, function.end())
        parts += [text[start : function.end()], _converted(text[function.end() : end])]
        start = end
    return "".join([*parts, text[start:]])


def _argument_end(text: str, start: int) -> int:
    """Returns where the argument of a function ends that starts here."""
    if fraction := FRACTION.match(text, start):
        return _group_end(text, _group_end(text, fraction.end()))
    if text[start : start + 1] in ("(", "{", "["):
        return _group_end(text, start)
    angle = re.compile(rf"-?\s*{DEGREES.pattern}").match(text, start)
    return angle.end() if angle else start


def _group_end(text: str, start: int) -> int:
    """Returns the end of the bracket that opens here, after white space; the same place if none does."""
    while text[start : start + 1] == " ":
        start += 1
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0:
            return position + 1 if position > start else start
    return start


def _converted(argument: str) -> str:
    """Returns an argument with its degrees in radians, in brackets if it had none."""
    found = DEGREES.sub(r"\1\\cdot\\frac{\\pi}{180}", argument)
    return argument if found == argument else f"({found})"
