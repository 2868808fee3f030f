"""What a stage was made with: the record in its folder, how that differs from what a run asks for, and its end.

A stage is claimed by what it reads and by nothing else: its section without the fields that only place, show or
lengthen it, and hashes of the models and data that it reads.
"""

import hashlib
import json
from typing import Any

from etils import epath

from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.results.files import read_json, read_object, write_json

DONE = "done.json"
_SHOWN = 20


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """`path: old -> new` for every leaf in which two plain configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        pairs = (
            (f"{path}.{k}" if path else k, old.get(k, "absent"), new.get(k, "absent")) for k in keys
        )
        return [line for name, a, b in pairs for line in differences(a, b, name)]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


def plain(value: Any) -> Any:
    """The value as it comes back from a JSON file: tuples as lists, keys as text."""
    return json.loads(json.dumps(value))


def digest(claimed: dict) -> str:
    """A hash of what a stage is claimed by."""
    return hashlib.sha256(json.dumps(claimed, sort_keys=True).encode()).hexdigest()


def refuse(path: epath.PathLike, changed: list[str], remedy: str) -> None:
    """Refuses what was made with something else, if there is a difference.

    Raises:
      ConfigError: with the differences.
    """
    if changed:
        more = [f"and {len(changed) - _SHOWN} more"] if len(changed) > _SHOWN else []
        lines = "\n  ".join([*changed[:_SHOWN], *more])
        raise ConfigError(
            f"{path}: made with something else than this run asks for (old -> new):\n  {lines}\n{remedy}"
        )


def claim(
    folder: epath.Path,
    claimed: dict,
    begun: bool,
    about: dict | None = None,
    name: str = "config.json",
) -> None:
    """Writes the record of a stage into its folder, or refuses a folder in which another one was begun.

    Called when everything else is checked, just before the first thing is written.

    Args:
      folder: of the stage.
      claimed: what its results depend on.
      begun: whether the folder holds results; without any it belongs to nobody and is claimed anew.
      about: what else stands in the record, for readers; not compared.
      name: of the record.

    Raises:
      ConfigError: with the differences, or since it is not known what the results were made with.
    """
    path = folder / name
    claimed = plain(claimed)
    if begun:
        _compare(path, claimed)
    record = {"claimed": claimed, **plain(about or {})}
    if not _holds(path, record):
        write_json(path, record)


def _compare(path: epath.Path, claimed: dict) -> None:
    remedy = f"Use another --workdir, or remove {path.parent}."
    if not path.exists():
        raise ConfigError(f"{path}: not found: what is there was made with is not known. {remedy}")
    # Without the record it would not be known what is there was made with.
    found = read_object(path, {"claimed": dict}, f"Put back a copy of it. {remedy}")
    refuse(path, differences(found["claimed"], claimed), remedy)


def _holds(path: epath.Path, record: dict) -> bool:
    try:
        return path.exists() and read_json(path) == record
    except UserError:  # broken, and nobody's: written anew
        return False


def mark_done(folder: epath.Path, summary: dict, claimed: dict, files: list[epath.Path]) -> None:
    """Writes `done.json`: the summary, the hash of what the stage was claimed by, and its files with their sizes."""
    sizes = {str(file.relative_to(folder)): file.stat().length for file in files}
    done = summary | {"claim": digest(plain(claimed)), "files": sizes}
    write_json(folder / DONE, done)


def why_not_done(folder: epath.Path, summary: dict, claimed: dict) -> str | None:
    """None where `done.json` says that just this is complete and all that it names is there; else what is amiss."""
    path = folder / DONE
    if not path.exists():
        return f"{path}: not found"
    try:
        done = read_object(path, {"files": dict})
    except UserError as error:
        return str(error)
    changed = differences({k: done.get(k) for k in summary}, plain(summary))
    if changed or done.get("claim") != digest(plain(claimed)):
        return f"{path}: of another run ({'; '.join(changed) or 'made with something else'})"
    wrong = [name for name, size in done["files"].items() if _length(folder / name) != size]
    return f"{folder / wrong[0]}: missing, or of another size than {path} says" if wrong else None


def _length(path: epath.Path) -> int | None:
    return path.stat().length if path.exists() else None
