"""Checks whether a JSON value has a shape: types, objects with named values, lists whose lengths must agree.

A shape is one of these:

- `str`, `bool`, `float` (any number), `From` or `Place` (whole numbers), or a set of values, one of which it must be;
- a list with the shape of all its entries, or a tuple with the shape of each; `Along`: a list of a length;
- an object with the shape of each value by its name. A name with "?" may be missing. `ANY` has the shape of all names
  that are not given;
- `Maybe`: a shape or null; `Apart`: a shape whose lists have lengths of their own.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import WHAT_TO_DO

ANY = "*"
MOST = 1 << 53  # Whole numbers are below it, so that none is rounded.
MOST_NUMBER = 1e300  # Other numbers are below it, so that means of them are finite.
_NAMES = {str: "a text", bool: "true or false", float: "a number"}


class Maybe(NamedTuple):
    """A value of a shape, or null."""

    of: Any


class Apart(NamedTuple):
    """A value of a shape, whose lists need not be as long as those elsewhere in the file."""

    of: Any


class From(NamedTuple):
    """A whole number that is at least this."""

    least: int


class Along(NamedTuple):
    """A list that is as long as all others along this axis, and has at least one entry."""

    axis: str
    of: Any


class Place(NamedTuple):
    """The number, from 0, of an entry of the lists along an axis."""

    axis: str


def check_shape(value: Any, shape: Any, source: str, lengths: dict[str, int]) -> None:
    """Refuses a value that has not this shape; `source` names its file and place in messages.

    Args:
      value: from a JSON file.
      shape: what it must be.
      source: for messages.
      lengths: of the axes that are known so far; new ones are added.

    Raises:
      UserError: with the place, what was expected and what is there.
    """
    for place, expected, got in _faults(value, shape, "", lengths):
        raise UserError(f"{source}{place}: expected {expected}, got {got}. {WHAT_TO_DO}")


Fault = tuple[str, str, str]  # Place, what was expected, what is there.


def _faults(value: Any, shape: Any, place: str, lengths: dict[str, int]) -> Iterator[Fault]:
    if isinstance(shape, Maybe):
        yield from () if value is None else _faults(value, shape.of, place, lengths)
    elif isinstance(shape, Apart):
        yield from _faults(value, shape.of, place, {})
    elif isinstance(shape, Along):
        yield from _faults_along(value, shape, place, lengths)
    elif isinstance(shape, Mapping):
        yield from _faults_of_object(value, shape, place, lengths)
    elif isinstance(shape, list) or type(shape) is tuple:
        yield from _faults_of_list(value, shape, place, lengths)
    elif not _is(value, shape, lengths):
        yield place, _said(shape, lengths), f"{value!r:.80}"


def _is(value: Any, shape: Any, lengths: dict[str, int]) -> bool:
    if isinstance(shape, frozenset):
        return isinstance(value, (str, type(None))) and value in shape
    if isinstance(shape, Place):
        return type(value) is int and 0 <= value < lengths[shape.axis]
    if isinstance(shape, From):
        return type(value) is int and shape.least <= value < MOST
    return _is_number(value) if shape is float else isinstance(value, shape)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < MOST_NUMBER  # NaN is not below it either.


def _are_numbers(values: list) -> bool:
    """Returns whether a list is of finite numbers alone, at once: a file has many thousands of them."""
    try:
        return set(map(type, values)) <= {int, float} and math.isfinite(sum(values))
    except OverflowError:
        return False


def _said(shape: Any, lengths: dict[str, int]) -> str:
    if isinstance(shape, frozenset):
        return "one of " + ", ".join(sorted("null" if one is None else one for one in shape))
    if isinstance(shape, Place):
        return f"a whole number from 0 to {lengths[shape.axis] - 1}"
    if isinstance(shape, (Maybe, Apart)):
        return _said(shape.of, lengths) + (" or null" if isinstance(shape, Maybe) else "")
    if isinstance(shape, From):
        return f"a whole number from {shape.least}"
    if isinstance(shape, Mapping):
        return "an object"
    return _NAMES[shape] if isinstance(shape, type) else "a list"


def _faults_along(value: Any, shape: Along, place: str, lengths: dict[str, int]) -> Iterator[Fault]:
    if not isinstance(value, list) or not value:
        yield place, "a list that is not empty", f"{value!r:.80}"
    elif lengths.setdefault(shape.axis, len(value)) != len(value):
        there = f"{lengths[shape.axis]} entries, as all lists over {shape.axis}"
        yield place, there, str(len(value))
    else:
        yield from _faults(value, [shape.of], place, lengths)


def _faults_of_list(value: Any, shape: Any, place: str, lengths: dict[str, int]) -> Iterator[Fault]:
    if not isinstance(value, list):
        yield place, "a list", f"{value!r:.80}"
    elif type(shape) is tuple and len(value) != len(shape):
        yield place, f"{len(shape)} entries", str(len(value))
    elif shape != [float] or not _are_numbers(value):
        each = shape if type(shape) is tuple else shape * len(value)
        for number, (one, kind) in enumerate(zip(value, each, strict=True), start=1):
            yield from _faults(one, kind, f"{place}, {number}", lengths)


def _faults_of_object(
    value: Any, shape: Mapping, place: str, lengths: dict[str, int]
) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield place, "an object", f"{value!r:.80}"
        return
    named = {name.removesuffix("?"): kind for name, kind in shape.items() if name != ANY}
    for name in shape:
        if name != ANY and not name.endswith("?") and name not in value:
            yield f"{place}, {name}", _said(shape[name], lengths), "nothing"
    given = {name: kind for name, kind in named.items() if name in value}
    others = {n: shape[ANY] for n in value if n not in named} if ANY in shape else {}
    for name, kind in (given | others).items():
        yield from _faults(value[name], kind, f"{place}, {name}", lengths)
