"""Makes the ConfigDicts of recipes, and describes their fields, from the dataclasses of `jaxreason.config`.

A recipe only says what it changes: in `config_dict(SFTConfig, {"mine": data}, 1e-5, epochs=1.0)`, every other field
has its declared default.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxreason.config import (
    ConfigError,
    Defaults,
    Range,
    check_names,
    completed,
    default_of,
    has_default,
    laid_over,
    marks,
)


def config_dict(cls: type, *values: Any, **changes: Any) -> ConfigDict:
    """Makes a section of a recipe with all fields of the dataclass `cls`.

    Args:
      cls: the dataclass.
      *values: of the fields without a default, those of inner sections among them, in the order in which they are
        declared; then of the other fields in that order.
      **changes: fields by name. A mapping for an inner section changes some fields of it.

    Raises:
      ConfigError: a field is unknown, or has no default and was not given.
    """
    given: dict[str, Any] = {}
    paths = positions(cls)
    if len(values) > len(paths):
        raise ConfigError(f"{cls.__name__}: at most {len(paths)} values, got {len(values)}.")
    for path, value in zip(paths, values, strict=False):
        inner = given
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    for name, value in changes.items():
        known = given.get(name)
        given[name] = laid_over(known, value) if isinstance(known, dict) and len(known) else value
    return ConfigDict(_filled(cls, given, cls.__name__), convert_dict=True)


def positions(cls: type) -> list[tuple[str, ...]]:
    """Returns the paths of the fields that `config_dict` takes by position."""
    first = list(_without_default(cls, frozenset()))
    begun = {path[0] for path in first}
    return [*first, *((f.name,) for f in dataclasses.fields(cls) if f.name not in begun)]


def _without_default(cls: type, known: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """Yields the fields of a section, and of sections inside it, that have no default and are not in `known`."""
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        if has_default(field) or field.name in known:
            continue
        bare = _bare(hints[field.name])
        if dataclasses.is_dataclass(bare):
            inner = frozenset(_defaults_beside(hints[field.name]))
            yield from ((field.name, *path) for path in _without_default(bare, inner))
        else:
            yield (field.name,)


def _defaults_beside(hint: Any) -> dict[str, Any]:
    return {k: v for note in marks(hint) if isinstance(note, Defaults) for k, v in note.values}


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if marks(hint) else hint


def _filled(cls: type, given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Returns all fields of a section; those left out have their defaults."""
    check_names(cls, given, path)
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        name, hint = field.name, hints[field.name]
        if name in given:
            value = completed(field, hint, given[name])
            found[name] = _filled_value(hint, value, f"{path}.{name}")
        elif has_default(field):
            found[name] = _plain(default_of(field))
        else:
            raise ConfigError(f"{path}: missing field(s) {name} (of {cls.__name__}).")
    return found


def _filled_value(hint: Any, value: Any, path: str) -> Any:
    """Fills in the fields that sections in a value leave out."""
    hint = _bare(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next((arg for arg in typing.get_args(hint) if dataclasses.is_dataclass(arg)), Any)
    if dataclasses.is_dataclass(value) or not hasattr(value, "items"):
        return _plain(value)
    if dataclasses.is_dataclass(hint):
        return _filled(hint, dict(value.items()), path)
    if typing.get_origin(hint) is dict:
        inside = typing.get_args(hint)[1]
        return {key: _filled_value(inside, item, f"{path}.{key}") for key, item in value.items()}
    return value


def _plain(value: Any) -> Any:
    """Converts a dataclass to a dict, at any depth; tuples stay tuples."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


class FieldInfo(NamedTuple):
    """The description of a field for readers.

    Attributes:
      path: its path in the section, such as `optimizer.learning_rate`.
      type: the type as it is written.
      default: the default as it is written; "" if there is none.
      range: the allowed numbers in words; "" if there is no limit.
      doc: its meaning.
    """

    path: str
    type: str
    default: str
    range: str
    doc: str


def describe_fields(cls: type) -> list[FieldInfo]:
    """Describes the fields of a section in the order of their declaration; fields of an inner section follow it."""
    return list(_described(cls, "", {}))


def _described(cls: type, prefix: str, outer: Mapping[str, Any]) -> Iterator[FieldInfo]:
    hints, docs = typing.get_type_hints(cls, include_extras=True), field_docs(cls)
    for field in dataclasses.fields(cls):
        hint, path = hints[field.name], f"{prefix}{field.name}"
        inner, name = _section_in(hint), field.name
        known = name in outer or has_default(field)
        default = outer[name] if name in outer else default_of(field) if known else None
        shown = repr(default) if known and not dataclasses.is_dataclass(default) else ""
        ranges = "; ".join(note.description for note in marks(hint) if isinstance(note, Range))
        yield FieldInfo(path, _type_name(hint), shown, ranges, docs[name])
        if inner is not None:
            values = _defaults_beside(hint)
            if dataclasses.is_dataclass(default):
                values = {f.name: getattr(default, f.name) for f in dataclasses.fields(default)}
            in_table = typing.get_origin(_bare(hint)) is dict
            yield from _described(inner, f"{path}.NAME." if in_table else f"{path}.", values)


def _section_in(hint: Any) -> type | None:
    """Returns the dataclass of an inner section, or of the entries of a table; None for other fields."""
    hint = _bare(hint)
    if dataclasses.is_dataclass(hint):
        return hint
    found = (_section_in(arg) for arg in typing.get_args(hint))
    return next((cls for cls in found if cls is not None), None)


def _type_name(hint: Any) -> str:
    hint = _bare(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return "None"
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type_name, args))
    if origin in (tuple, dict):
        inside = (_type_name(arg) for arg in args if arg is not Ellipsis)
        return f"{origin.__name__} of {' to '.join(inside)}"
    if dataclasses.is_dataclass(hint):
        return "section"
    return "any" if hint is Any else hint.__name__


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """Returns the string below each field of a dataclass, in one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    found = {}
    for field, below in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found
