"""Checks recipes: sections of a ConfigDict become frozen dataclasses, or the recipe is refused.

Everything about a field is declared in one place, its dataclass: name, type, default and meaning (the string below it).
Beside the type stand its range and whether results depend on it: `Annotated[int, at_least(1), FREE]`. If a field is
unknown, missing, of the wrong type or out of range, an error gives its full path, what was expected and the nearest
valid name. `recipe_fields` makes the ConfigDicts of recipes from the same declarations.
"""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from jaxreason.errors import UserError

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


class ConfigError(UserError):
    """A recipe or an override cannot be used as it is."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The finite numbers that a field may have; made by the functions below.

    Attributes:
      description: the range in words.
      low, high: its ends; `low_itself` and `high_itself` say whether they belong to it.
      also: single numbers that are allowed too, such as 0 for off.
    """

    description: str
    low: float
    high: float
    low_itself: bool
    high_itself: bool
    also: tuple[float, ...] = ()

    def __contains__(self, value: float) -> bool:
        if value in self.also:
            return True
        above = value >= self.low if self.low_itself else value > self.low
        below = value <= self.high if self.high_itself else value < self.high
        return above and below and math.isfinite(value)


def at_least(low: float, *also: float) -> Range:
    """Allows `low` or more, or one of `also`."""
    return Range(f"at least {low:g}{_or(also)}", low, math.inf, True, True, also)


def above(low: float, *also: float) -> Range:
    """Allows more than `low`, or one of `also`."""
    return Range(f"more than {low:g}{_or(also)}", low, math.inf, False, True, also)


def within(low: float, high: float) -> Range:
    """Allows `low` to `high`, including both."""
    return Range(f"from {low:g} to {high:g}", low, high, True, True)


def between(low: float, high: float) -> Range:
    """Allows numbers between `low` and `high`, excluding both."""
    return Range(f"between {low:g} and {high:g}, both excluded", low, high, False, False)


def below(low: float, high: float) -> Range:
    """Allows at least `low` and less than `high`."""
    return Range(f"at least {low:g} and less than {high:g}", low, high, True, False)


def _or(also: tuple[float, ...]) -> str:
    return "".join(f", or {value:g}" for value in also)


@dataclasses.dataclass(frozen=True)
class Defaults:
    """The changes that a section makes to the defaults of a section inside it; made by `defaults`."""

    values: tuple[tuple[str, Any], ...]


def defaults(**values: Any) -> Defaults:
    """Stands beside the type of an inner section: `Annotated[SamplerConfig, defaults(slots=1)]`."""
    return Defaults(tuple(values.items()))


def needed() -> Any:
    """Marks a field as having no default although it follows fields that have one.

    A dataclass does not allow this order, so the mark is a default that raises when it is used.
    """
    return dataclasses.field(default_factory=_no_default)


def _no_default() -> Any:
    raise TypeError("a field without a default was left out")


def has_default(field: dataclasses.Field) -> bool:
    """Whether a field may be left out."""
    missing = dataclasses.MISSING
    made = field.default_factory is not missing and field.default_factory is not _no_default
    return made or field.default is not missing


def default_of(field: dataclasses.Field) -> Any:
    """The default of a field that has one."""
    given = field.default is not dataclasses.MISSING
    return field.default if given else cast(Callable[[], Any], field.default_factory)()


# Every field of a section that a stage is claimed by has one of these two marks, or holds sections whose fields have.
# The results depend on a LEARNED field: another value needs another working directory.
LEARNED = "learned"
# A FREE field only places, shows or lengthens a run, or names something that is claimed by its content: a run may
# continue with another value.
FREE = "free"
_Class = TypeVar("_Class", bound=type)


def unclaimed(_why: str) -> Callable[[_Class], _Class]:
    """Marks a section that no stage is claimed by, and gives the reason: all its fields are FREE."""

    def mark(cls: _Class) -> _Class:
        cls.UNCLAIMED = True  # type: ignore[attr-defined]
        return cls

    return mark


def whole_number(text: str) -> int | None:
    """Returns the number that is written in digits; None for any other text, or for more digits than a count has."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def nearest(name: str, valid: typing.Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the closest valid name, or an empty string."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def instead_of(cls: type, name: str) -> str:
    """Returns what replaces a former field, from the dataclass's `FORMER_FIELDS`; "" if nothing does."""
    former = getattr(cls, "FORMER_FIELDS", {})
    return f" any more: {former[name]}" if name in former else ""


def parse(cls: type[T], section: Any, path: str) -> T:
    """Converts a recipe section to an instance of the frozen dataclass `cls`.

    Args:
      cls: a dataclass; nested dataclasses, `tuple[X, ...]`, `dict[str, X]`, `X | None` and `Literal` are understood.
      section: a ConfigDict or mapping with the fields of `cls`; those with a default may be left out. Fields of an
        inner section that are left out have the defaults that the outer section declares for it.
      path: where the section is in the recipe, for messages (`sft.optimizer`).

    Raises:
      ConfigError: a field is unknown or missing, or its value has the wrong type, is out of range or is not finite.
    """
    if not isinstance(section, Mapping):
        section = _items(section, cls, path)
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    check_names(cls, section, path)
    missing = [n for n, field in fields.items() if n not in section and not has_default(field)]
    if missing:
        raise ConfigError(f"{path}: missing field(s) {', '.join(missing)} (of {cls.__name__}).")
    return cls(
        **{
            name: _convert(
                hints[name], completed(fields[name], hints[name], section[name]), f"{path}.{name}"
            )
            for name in fields
            if name in section
        }
    )


def check_names(cls: type, section: Mapping, path: str) -> None:
    """Refuses fields that `cls` does not have.

    Raises:
      ConfigError: names the field, the nearest valid name, and what replaced a former field.
    """
    names = [field.name for field in dataclasses.fields(cls)]
    for key in section:
        if key not in names:
            raise ConfigError(
                f"{path}.{key}: no such field{instead_of(cls, key)}{nearest(key, names) or '.'} "
                f"Valid: {', '.join(names)}."
            )


def completed(field: dataclasses.Field, hint: Any, value: Any) -> Any:
    """Returns the value of a field; a value for an inner section gets the defaults that the outer section declares."""
    for note in marks(hint):
        if isinstance(note, Defaults):
            return laid_over(dict(note.values), value)
    default = default_of(field) if has_default(field) else None
    return laid_over(default, value) if dataclasses.is_dataclass(default) else value


def laid_over(base: Any, value: Any) -> Any:
    """Returns the fields of `base` replaced by those of `value`, at any depth, if `value` is a section; else `value`.

    Args:
      base: a dataclass, or some of the fields of one by name.
      value: a section, or anything else.
    """
    if dataclasses.is_dataclass(value) or not hasattr(value, "items"):
        return value
    if dataclasses.is_dataclass(base):
        base = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)}
    found = dict(base)
    for name in list(value):
        inner = base.get(name)
        found[name] = (
            laid_over(inner, value[name]) if dataclasses.is_dataclass(inner) else value[name]
        )
    return found


def _items(section: Any, cls: type, path: str) -> Mapping:
    if hasattr(section, "items") and hasattr(section, "keys"):
        return dict(section.items())
    inside = "names and their values" if cls is dict else f"the fields of {cls.__name__}"
    raise ConfigError(f"{path}: expected a section with {inside}, got {section!r}.")


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else parse(hint, value, path)
    if origin is typing.Annotated:
        return _in_range(args[1:], _convert(args[0], value, path), path)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, path)
    if origin is typing.Literal:
        return _convert_literal(args, value, path)
    if origin is tuple:
        return _convert_tuple(args, value, path)
    if origin is dict:
        items = _items(value, dict, path) if not isinstance(value, Mapping) else value
        return {key: _convert(args[1], items[key], f"{path}.{key}") for key in items}
    return _convert_scalar(dict if hint is dict else hint, value, path)


def check_ranges(section: Any, path: str) -> None:
    """Checks the ranges of a section that was made without `parse`, at any depth.

    Raises:
      ConfigError: names the field's full path, its range and the value.
    """
    hints = typing.get_type_hints(type(section), include_extras=True)
    for field in dataclasses.fields(section):
        _check_value(hints[field.name], getattr(section, field.name), f"{path}.{field.name}")


def _check_value(hint: Any, value: Any, path: str) -> None:
    args = typing.get_args(hint)
    if dataclasses.is_dataclass(value):
        check_ranges(value, path)
    elif typing.get_origin(hint) is typing.Annotated:
        _in_range(args[1:], value, path)
        _check_value(args[0], value, path)
    elif isinstance(value, Mapping) and len(args) == 2:
        for key, item in value.items():
            _check_value(args[1], item, f"{path}.{key}")
    elif isinstance(value, tuple) and args:
        for number, item in enumerate(value):
            _check_value(args[0], item, f"{path}[{number}]")


def _in_range(notes: tuple, value: Any, path: str) -> Any:
    for note in notes:
        if isinstance(note, Range) and value is not None and value not in note:
            raise ConfigError(f"{path}: expected {note.description}, got {value!r}.")
    return value


def _convert_union(args: tuple, value: Any, path: str) -> Any:
    if value is None and type(None) in args:
        return None
    errors = []
    for arg in (arg for arg in args if arg is not type(None)):
        try:
            return _convert(arg, value, path)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _convert_literal(args: tuple, value: Any, path: str) -> Any:
    if value in args:
        return value
    hint = nearest(str(value), map(str, args))
    raise ConfigError(f"{path}: expected one of {', '.join(map(repr, args))}, got {value!r}{hint}")


def _convert_tuple(args: tuple, value: Any, path: str) -> tuple:
    if isinstance(value, str) or not isinstance(value, (tuple, list)):
        raise ConfigError(f"{path}: expected a tuple, got {value!r}.")
    return tuple(_convert(args[0], item, f"{path}[{i}]") for i, item in enumerate(value))


def _convert_scalar(hint: type, value: Any, path: str) -> Any:
    if hint is float and type(value) is int:
        return _convert_scalar(float, _as_float(value), path)
    if hint is dict and hasattr(value, "items"):
        return dict(value.items())
    if type(value) is hint:
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{path}: expected a finite number, got {value!r}.")
        return value
    raise ConfigError(f"{path}: expected {hint.__name__}, got {value!r} ({type(value).__name__}).")


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def to_dict(value: Any) -> Any:
    """Converts a dataclass, a ConfigDict or a container of them to plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "items"):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_dict(item) for item in value]
    return value


def claimed(section: Any) -> dict[str, Any]:
    """Returns a parsed section as plain JSON values without its FREE fields: what its results depend on."""
    return {name: claimed_value(getattr(section, name)) for name in claimed_fields(type(section))}


def claimed_fields(cls: type) -> dict[str, Any]:
    """Returns the fields of a section that a stage is claimed by, with their types."""
    if getattr(cls, "UNCLAIMED", False):
        return {}
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: hints[name] for name in names if FREE not in marks(hints[name])}


def marks(hint: Any) -> tuple:
    """Returns the annotations beside a field's type."""
    return getattr(hint, "__metadata__", ())


def claimed_value(value: Any) -> Any:
    """Applies `claimed` to a section, or to the sections in a container; other values become JSON values."""
    if dataclasses.is_dataclass(value):
        return claimed(value)
    if isinstance(value, Mapping):
        return {str(key): claimed_value(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [claimed_value(item) for item in value]
    return to_dict(value)
