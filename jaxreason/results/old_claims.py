"""What an older version wrote of sections, as this version would have written it.

A field that came later has its default, which is what runs did before there was one; a field that is claimed no longer
is left out of a claim. What of a claim this version does not know stays, and is a difference.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from jaxreason.config import claimed_fields, claimed_value, default_of, has_default

OfSection = Callable[[type, dict[str, Any]], dict[str, Any]]


def brought_up(old: Any, sections: Mapping[str, type]) -> Any:
    """An old record in which the sections at these paths are as this version claims them.

    Args:
      old: plain JSON values.
      sections: path ("rl", "models.run", "" for all of it) -> the dataclass that is claimed there; what is not there
        is left alone.
    """
    for path, cls in sections.items():
        old = _changed(old, path.split(".") if path else [], cls)
    return old


def recorded(cls: type, section: dict[str, Any]) -> dict[str, Any]:
    """A recipe's section from a record, without fields that `cls` does not have any more, at any depth."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {n: _walk(hints[n], x, recorded) for n, x in section.items() if n in hints}


def _changed(node: Any, path: list[str], hint: Any) -> Any:
    if not path:
        return _walk(hint, node, _as_claimed)
    if not isinstance(node, dict) or path[0] not in node:
        return node
    return node | {path[0]: _changed(node[path[0]], path[1:], hint)}


def _as_claimed(cls: type, old: dict[str, Any]) -> dict[str, Any]:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = {name: value for name, value in old.items() if name not in fields}
    found = {
        name: _walk(hint, old[name], _as_claimed)
        if name in old
        else claimed_value(default_of(fields[name]))
        for name, hint in claimed_fields(cls).items()
        if name in old or has_default(fields[name])
    }
    return unknown | found


def _walk(hint: Any, value: Any, of_section: OfSection) -> Any:
    """A value of a type with `of_section` of every section in it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _walk(args[0], value, of_section)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return of_section(hint, value)
    if origin in (typing.Union, types.UnionType):
        inside = next((arg for arg in args if dataclasses.is_dataclass(arg)), Any)
        return _walk(inside, value, of_section)
    if origin is dict and isinstance(value, dict):
        return {key: _walk(args[1], item, of_section) for key, item in value.items()}
    if origin is tuple and isinstance(value, list):
        return [_walk(args[0], item, of_section) for item in value]
    return value
