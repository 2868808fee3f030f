"""Recipe sections to frozen dataclasses, strictly; and the small files of a working directory.

No default lives here or in the dataclasses: a recipe states every field. A field that is unknown, missing
or of the wrong type is an error that gives its full path, what was expected and the nearest valid name.
"""

import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from etils import epath

T = TypeVar("T")


class ConfigError(ValueError):
    """A recipe or an override that cannot be used as it stands."""


def nearest(name: str, valid: typing.Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest valid name, or an empty string."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def parse(cls: type[T], section: Any, path: str) -> T:
    """A recipe section as an instance of the frozen dataclass `cls`.

    Args:
      cls: a dataclass; nested dataclasses, `tuple[X, ...]`, `dict[str, X]`, `X | None` and `Literal` are understood.
      section: a ConfigDict or mapping with exactly the fields of `cls`.
      path: where the section is in the recipe, for messages (`sft.optimizer`).

    Raises:
      ConfigError: for an unknown or missing field, or a value of another type.
    """
    if not isinstance(section, Mapping):
        section = _items(section, cls, path)
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    for key in section:
        if key not in names:
            raise ConfigError(
                f"{path}.{key}: no such field{nearest(key, names)} Valid: {', '.join(names)}."
            )
    missing = [name for name in names if name not in section]
    if missing:
        raise ConfigError(f"{path}: missing field(s) {', '.join(missing)} (of {cls.__name__}).")
    return cls(**{name: _convert(hints[name], section[name], f"{path}.{name}") for name in names})


def _items(section: Any, cls: type, path: str) -> Mapping:
    if hasattr(section, "items") and hasattr(section, "keys"):
        return dict(section.items())
    raise ConfigError(
        f"{path}: expected a section with the fields of {cls.__name__}, got {section!r}."
    )


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, path)
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
        return float(value)
    if hint is dict and hasattr(value, "items"):
        return dict(value.items())
    if type(value) is hint:
        return value
    raise ConfigError(f"{path}: expected {hint.__name__}, got {value!r} ({type(value).__name__}).")


def to_dict(value: Any) -> Any:
    """A dataclass, ConfigDict or container of them as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "items"):
        return {str(key): to_dict(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_dict(item) for item in value]
    return value


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """`path: old -> new` for every leaf in which two plain configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        pairs = (
            (f"{path}.{k}" if path else k, old.get(k, "absent"), new.get(k, "absent")) for k in keys
        )
        return [line for name, a, b in pairs for line in differences(a, b, name)]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def claim(workdir: epath.Path, config: dict, name: str = "config.json") -> None:
    """Write the configuration into a new working directory, or refuse one made with another.

    Raises:
      ConfigError: with the differences, when the directory holds another configuration.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / name
    config = json.loads(json.dumps(config))
    if not path.exists():
        return write_json(path, config)
    changed = differences(read_json(path), config)
    if changed:
        lines = "\n  ".join(changed[:20])
        raise ConfigError(
            f"{path}: this working directory was made with another configuration (old -> new):\n  {lines}\n"
            "Use another --workdir, or remove this one."
        )


def absolute(path: epath.PathLike) -> epath.Path:
    """The path from the root, as Orbax and sections with a folder of their own need it; `gs://...` is one already."""
    return epath.Path(path if "://" in os.fspath(path) else os.path.abspath(path))


def atomic_write_text(path: epath.PathLike, text: str) -> None:
    """Write a whole file or none: to a temporary name beside it, then renamed."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{path.name}.tmp-{os.getpid()}"
    temporary.write_text(text)
    temporary.replace(path)


def write_json(path: epath.PathLike, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    atomic_write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: epath.PathLike) -> Any:
    """The value in a JSON file; a broken file is a ValueError with its path."""
    try:
        return json.loads(epath.Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error}).") from error


def read_jsonl(path: epath.PathLike) -> list[dict]:
    """The rows of a jsonl file. A last line without its newline was cut off by a kill and is not a row."""
    return list(_complete_lines(epath.Path(path)))


def _complete_lines(path: epath.Path) -> Iterator[dict]:
    lines = path.read_text().split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not valid JSON ({error}).") from error


class JsonlWriter:
    """Appends rows to a jsonl file, each whole and flushed; drops a last line that a kill cut off.

    The file is rewritten on opening when its last line is incomplete. `keep`, if given, also drops the rows
    for which it is false, as a resumed run does with the rows after the step that it resumes from.
    """

    def __init__(self, path: epath.PathLike, keep=None):
        self.path = epath.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._restore(keep)
        self._file = self.path.open("a")

    def _restore(self, keep) -> None:
        rows = [row for row in read_jsonl(self.path) if keep is None or keep(row)]
        text = "".join(_line(row) for row in rows)
        if text != self.path.read_text():
            atomic_write_text(self.path, text)

    def write(self, row: dict) -> None:
        """Append one row."""
        self._file.write(_line(row))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
