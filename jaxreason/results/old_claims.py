"""Claims that an older version wrote, as this version would have written them.

A field that came later has its default, which is what runs did before there was one; a field that is claimed no longer
is left out. What this version does not know stays, and is a difference.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from jaxreason.config import claimed_fields, claimed_value


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


def _changed(node: Any, path: list[str], hint: Any) -> Any:
    if not path:
        return _value(hint, node)
    if not isinstance(node, dict) or path[0] not in node:
        return node
    return node | {path[0]: _changed(node[path[0]], path[1:], hint)}


def _section(cls: type, old: dict) -> dict[str, Any]:
    claimed = claimed_fields(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = {name: value for name, value in old.items() if name not in fields}
    found = {
        name: _value(hint, old[name]) if name in old else _default(fields[name])
        for name, hint in claimed.items()
        if name in old or _has_default(fields[name])
    }
    return unknown | found


def _value(hint: Any, old: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _value(args[0], old)
    if dataclasses.is_dataclass(hint):
        return _section(hint, old) if isinstance(old, dict) else old
    if origin in (typing.Union, types.UnionType):
        return _value(next((arg for arg in args if dataclasses.is_dataclass(arg)), Any), old)
    if origin is dict and isinstance(old, dict):
        return {key: _value(args[1], item) for key, item in old.items()}
    if origin is tuple and isinstance(old, list):
        return [_value(args[0], item) for item in old]
    return old


def _has_default(field: dataclasses.Field) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _default(field: dataclasses.Field) -> Any:
    given = field.default is not dataclasses.MISSING
    return claimed_value(field.default if given else field.default_factory())
