"""Finding, loading and overriding a recipe: a Python file whose `get_config()` returns a ConfigDict.

A recipe is looked for where it is named and then among those that came with the package, so that
`--config configs/study_tiny.py` works from a checkout and from an installed wheel alike.
"""

import copy
import importlib.util
import pathlib
import sys
from typing import Any

import ml_collections

from jaxreason.config import ConfigError, nearest

_PACKAGE = pathlib.Path(__file__).resolve().parent


def recipe_folders() -> list[pathlib.Path]:
    """Folders that hold the shipped `configs`: the checkout's, or the wheel's copy."""
    folders = [_PACKAGE.parent, _PACKAGE / "recipes_data"]
    return [folder for folder in folders if (folder / "configs" / "sections.py").exists()]


def find_recipe(name: str) -> pathlib.Path:
    """The path of the recipe `name`.

    Raises:
      ConfigError: when there is no such file; names the shipped ones.
    """
    for folder in [pathlib.Path.cwd(), *recipe_folders()]:
        if (folder / name).is_file():
            return (folder / name).resolve()
    shipped = sorted(
        f"configs/{p.name}" for f in recipe_folders() for p in (f / "configs").glob("*.py")
    )
    shipped = [s for s in shipped if not s.endswith(("sections.py", "__init__.py"))]
    raise ConfigError(
        f"--config {name}: no such file{nearest(name, shipped)} Shipped: {', '.join(shipped)}."
    )


def load_recipe(name: str) -> ml_collections.ConfigDict:
    """The ConfigDict that the recipe's `get_config()` returns."""
    path = find_recipe(name)
    for folder in recipe_folders()[:1]:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location("recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path}: a recipe defines get_config(), this file does not.")
    return module.get_config()


def check_override(config: ml_collections.ConfigDict, dotted: str) -> None:
    """Refuse an override of a field that the recipe does not have, naming the nearest one.

    Raises:
      ConfigError: with the full path of the field.
    """
    node: Any = config
    done = "config"
    for part in dotted.split("."):
        if not hasattr(node, "keys"):
            raise ConfigError(f"{done} is a value, not a section: it has no field {part!r}.")
        if part not in node:
            raise ConfigError(
                f"{done}.{part}: no such field{nearest(part, node.keys())} "
                f"Valid here: {', '.join(sorted(node.keys()))}."
            )
        node, done = node[part], f"{done}.{part}"


def merged(
    section: ml_collections.ConfigDict, overrides: Any, path: str
) -> ml_collections.ConfigDict:
    """A copy of `section` with `overrides` (nested, same names) laid over it.

    Raises:
      ConfigError: for a name that the section does not have.
    """
    result = copy.deepcopy(section)
    for key, value in overrides.items():
        if key not in result:
            raise ConfigError(f"{path}.{key}: no such field{nearest(key, result.keys())}")
        if hasattr(value, "items") and hasattr(result[key], "items"):
            value = merged(result[key], value, f"{path}.{key}")
        with result.ignore_type():
            result[key] = value
    return result
