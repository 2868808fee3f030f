"""`--config.SECTION.FIELD=VALUE`: sets any field of a recipe on the command line.

It can also add new entries to a table (a dict field). The type of a field is the one that its dataclass declares, so a
field whose value is None can be set too. Whether the value is allowed is checked when the section is parsed.
"""

import ast
import dataclasses
import types
import typing
from typing import Any

import ml_collections

from jaxreason.config import ConfigError, instead_of, nearest


def apply_overrides(
    config: ml_collections.ConfigDict, classes: dict[str, type], arguments: list[str]
) -> list[str]:
    """Sets fields of the recipe in place, in the order given, and returns the arguments that are not overrides.

    Args:
      config: the recipe.
      classes: section -> its dataclass.
      arguments: the command line: `--config.a.b=value`, `--config.a.b value`, and for switches
        `--config.a.b` and `--noconfig.a.b`.

    Raises:
      ConfigError: the recipe has no such field, or a field has no value.
    """
    others, rest = [], iter(arguments)
    for argument in rest:
        name, equals, text = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or not name.startswith(("config.", "noconfig.")):
            others.append(argument)
            continue
        path = tuple(name.split(".")[1:])
        hint = _hint(classes, path)
        if not equals and hint is bool:
            text = str(not name.startswith("no"))
        elif not equals:
            text = next(rest, None)
        if text is None or not all(path) or (name.startswith("no") and hint is not bool):
            raise ConfigError(f"{argument}: expected --config.SECTION.FIELD=VALUE.")
        _set(config, classes, path, text)
    return others


def _hint(classes: dict[str, type], path: tuple[str, ...]) -> Any:
    """Returns the type of a field or of an entry of a table, without Annotated; None if there is no such field."""
    hint: Any = {"seed": int, **classes}.get(path[0])
    for part in path[1:]:
        hint = next((h for h in _choices(hint) if h is not type(None)), None)
        if dataclasses.is_dataclass(hint):
            hint = typing.get_type_hints(hint, include_extras=True).get(part)
        elif _is_table(hint):
            hint = (*typing.get_args(hint), Any, Any)[1]
        elif hint is not Any:
            return None
    return _without_marks(hint)


def _without_marks(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def _choices(hint: Any) -> tuple[Any, ...]:
    """Returns the members of a union, or the type itself."""
    hint = _without_marks(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(map(_without_marks, typing.get_args(hint)))
    return (hint,)


def _is_table(hint: Any) -> bool:
    return hint is dict or typing.get_origin(hint) is dict


def _set(
    config: ml_collections.ConfigDict, classes: dict[str, type], path: tuple[str, ...], text: str
) -> None:
    node: Any = config
    for depth, part in enumerate(path):
        done = ".".join(("config", *path[:depth]))
        if not isinstance(node, ml_collections.ConfigDict):
            raise ConfigError(f"{done} is a value, not a section: it has no field {part!r}.")
        above = _choices(_hint(classes, path[:depth])) if depth else ()
        # A new entry of a table has none of its fields yet.
        fields = [
            f.name for h in above if dataclasses.is_dataclass(h) for f in dataclasses.fields(h)
        ]
        known = {*node.keys(), *fields}
        if part not in known and not any(_is_table(h) or h is Any for h in above):
            former = "".join(instead_of(h, part) for h in above)
            raise ConfigError(
                f"{done}.{part}: no such field{former}{nearest(part, known) or '.'} "
                f"Valid here: {', '.join(sorted(known))}."
            )
        if depth < len(path) - 1:
            if node.get(part) is None:  # The entry or section does not exist yet.
                _put(node, part, ml_collections.ConfigDict())
            node = node[part]
    old = node.get(path[-1])
    if isinstance(old, ml_collections.ConfigDict) and text != "None":
        fields = ", ".join(old.keys())
        raise ConfigError(f"config.{'.'.join(path)} is a section: set its fields ({fields}).")
    as_text = isinstance(old, str) and _hint(classes, path) is Any
    _put(node, path[-1], text if as_text else _value(_choices(_hint(classes, path)), text))


def _put(node: ml_collections.ConfigDict, name: str, value: Any) -> None:
    with node.unlocked(), node.ignore_type():
        node[name] = value


def _value(hints: tuple[Any, ...], text: str) -> Any:
    """Converts the text to the first of the types that accepts it; if none does, the text is returned."""
    if text == "None" and type(None) in hints:
        return None
    value = _literal(text)
    if any(typing.get_origin(hint) is tuple for hint in hints):
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if bool in hints and text.lower() in ("true", "false"):
        return text.lower() == "true"
    numbers = int in hints or float in hints
    if isinstance(value, str) and float in hints:
        return _as_float(value)
    only_text = (str in hints and not numbers) or all(
        typing.get_origin(hint) is typing.Literal and isinstance(typing.get_args(hint)[0], str)
        for hint in hints
    )
    return text if only_text else value


def _literal(text: str) -> Any:
    """Returns a number, True, None or a tuple that is written as in Python; any other text stays text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, (int, float, str, tuple, list, type(None))) else text


def _as_float(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
