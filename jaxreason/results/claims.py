"""The record of what a stage was made with: written in its folder, and compared when a run continues there.

A stage claims all that it reads and nothing else: its section without the fields that only affect placement, display or
length, and hashes of the models and data that it reads.

Records of older versions are read as this version would have written them. A field that was added later gets its
default (runs did this before the field existed), and a field that is no longer claimed is left out. Names that this
version does not know stay, and count as a difference.
"""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from etils import epath

from jaxreason.config import ConfigError, claimed_fields, claimed_value, default_of, has_default
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import read_json, read_object, size_of, write_json

DONE = "done.json"
RECORD = "config.json"
_SHOWN = 20
OfSection = Callable[[type, dict[str, Any]], dict[str, Any]]


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Returns `path: old -> new` for every leaf in which two plain configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        pairs = (
            (f"{path}.{k}" if path else k, old.get(k, "absent"), new.get(k, "absent")) for k in keys
        )
        return [line for name, a, b in pairs for line in differences(a, b, name)]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def plain_json(value: Any) -> Any:
    """Returns the value as it would come back from a JSON file: tuples as lists, keys as text."""
    return json.loads(json.dumps(value))


def digest(claimed: dict) -> str:
    """Returns a hash of a claim."""
    return hashlib.sha256(json.dumps(claimed, sort_keys=True).encode()).hexdigest()


def refuse(path: epath.PathLike, changed: list[str], remedy: str) -> None:
    """Raises an error if there are differences: each on a line of its own, a single one within the sentence.

    Raises:
      ConfigError: with the differences, and what to do.
    """
    if not changed:
        return
    more = [f"and {len(changed) - _SHOWN} more"] if len(changed) > _SHOWN else []
    before, end, what = ("\n  ", "\n", "them") if len(changed) > 1 else (" ", ". ", "it")
    lines = before.join(["", *changed[:_SHOWN], *more])
    raise ConfigError(
        f"{path}: made with something else than this run asks for (old -> new):{lines}{end}"
        f"To go on here, set {what} back; otherwise {remedy[0].lower()}{remedy[1:]}"
    )


def claim(
    folder: epath.Path,
    claimed: dict,
    begun: bool,
    about: dict | None = None,
    name: str = RECORD,
    sections: Mapping[str, type] | None = None,
    later: Collection[str] = (),
) -> None:
    """Writes the record of a stage into its folder, or refuses a folder in which a different one was begun.

    It is called when everything else has been checked, just before the first result is written.

    Args:
      folder: of the stage.
      claimed: what its results depend on.
      begun: whether the folder holds results; a folder without results has no owner and is claimed anew.
      about: further contents of the record, for readers; not compared.
      name: of the record.
      sections, later: as for `agreed`.

    Raises:
      ConfigError: with the differences, or because it is not known what the results were made with.
    """
    write_claim(folder, agreed(folder, claimed, begun, name, sections, later), about, name)


def agreed(
    folder: epath.Path,
    claimed: dict,
    begun: bool,
    name: str = RECORD,
    sections: Mapping[str, type] | None = None,
    later: Collection[str] = (),
) -> dict:
    """Returns the claim with which a folder continues: the requested one or, if it agrees, the one it began with.

    Other files contain hashes of the claim, so a claim that an older version wrote must stay unchanged.

    Args:
      folder, claimed, begun, name: as for `claim`.
      sections: path in the claim -> the dataclass that is claimed there, with which older claims are read
        (`brought_up`).
      later: names in the claim that older versions did not write; they are not compared if the record lacks them.

    Raises:
      ConfigError: as `claim`.
    """
    path, claimed = folder / name, plain_json(claimed)
    if not begun:
        return claimed
    remedy = f"Use another --workdir, or remove {path.parent}."
    if not path.exists():
        raise ConfigError(f"{path}: not found: what is there was made with is not known. {remedy}")
    # Without the record nobody would know what the results were made with.
    old = read_object(path, {"claimed": dict}, f"Put back a copy of it. {remedy}")["claimed"]
    refuse(path, changes(old, claimed, sections, later), remedy)
    return old


def changes(
    old: Any,
    new: dict,
    sections: Mapping[str, type] | None = None,
    later: Collection[str] = (),
) -> list[str]:
    """Returns the `differences` of a claim, perhaps of an older version, and a new one; arguments as in `agreed`."""
    if isinstance(old, dict):
        new = {name: value for name, value in new.items() if name in old or name not in later}
    return differences(brought_up(old, sections or {}), plain_json(new))


def write_claim(
    folder: epath.Path, claimed: dict, about: dict | None = None, name: str = RECORD
) -> None:
    """Writes the record of a stage, unless it has exactly this content already."""
    record = {"claimed": plain_json(claimed), **plain_json(about or {})}
    if not _holds(folder / name, record):
        write_json(folder / name, record)


def _holds(path: epath.Path, record: dict) -> bool:
    try:
        return path.exists() and read_json(path) == record
    except UserError:  # Broken, and without an owner: written anew.
        return False


def mark_done(folder: epath.Path, summary: dict, claimed: dict, files: list[epath.Path]) -> None:
    """Writes `done.json`: the summary, the hash of the stage's claim, and its files with their sizes."""
    sizes = {str(file.relative_to(folder)): size_of(file) for file in files}
    done = summary | {"claim": digest(plain_json(claimed)), "files": sizes}
    write_json(folder / DONE, done)


def why_not_done(folder: epath.Path, summary: dict, claimed: dict) -> str | None:
    """Returns None if `done.json` says that exactly this is complete and all its files exist; else what is wrong."""
    path = folder / DONE
    if not path.exists():
        return f"{path}: not found"
    try:
        done = read_object(path, {"files": dict})
    except UserError as error:
        return str(error)
    changed = differences({k: done.get(k) for k in summary}, plain_json(summary))
    if changed or done.get("claim") != digest(plain_json(claimed)):
        return f"{path}: of another run ({'; '.join(changed) or 'made with something else'})"
    wrong = [name for name, size in done["files"].items() if _length(folder / name) != size]
    return f"{folder / wrong[0]}: missing, or of another size than {path} says" if wrong else None


def _length(path: epath.Path) -> int | None:
    return size_of(path) if path.exists() else None


def brought_up(old: Any, sections: Mapping[str, type]) -> Any:
    """Returns an old record with the sections at these paths as this version claims them.

    Args:
      old: plain JSON values.
      sections: path ("rl", "models.run", "" for the whole record) -> the dataclass that is claimed there; missing paths
        are left out.
    """
    for path, cls in sections.items():
        old = _changed(old, path.split(".") if path else [], cls)
    return old


def recorded(cls: type, section: dict[str, Any]) -> dict[str, Any]:
    """Returns a recipe's section from a record, without fields that `cls` no longer has, at any depth."""
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
    """Returns a value of a type, with `of_section` applied to every section in it."""
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
