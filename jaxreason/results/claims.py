"""What a working directory was made with, and how that differs from what a run asks for now."""

import json
from typing import Any

from etils import epath

from jaxreason.config import ConfigError
from jaxreason.results.files import read_json, write_json


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
