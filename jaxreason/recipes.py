"""Finding, loading and overriding a recipe: a Python file whose `get_config()` returns a ConfigDict.

A recipe is looked for where it is named and then among those that came with the package, so that
`--config configs/study_tiny.py` works from a checkout and from an installed wheel alike.
"""

import copy
import importlib.util
import inspect
import pathlib
import sys
import types
from typing import Any

import ml_collections

from jaxreason.config import ConfigError, nearest

SHARED = ("sections.py", "tiny.py", "qwen3.py")  # what recipes are made of
_PACKAGE = pathlib.Path(__file__).resolve().parent


def recipe_folders() -> list[pathlib.Path]:
    """Folders that hold the shipped `configs`: the checkout's, or the wheel's copy."""
    folders = [_PACKAGE.parent, _PACKAGE / "recipes_data"]
    return [folder for folder in folders if (folder / "configs" / "sections.py").exists()]


def find_recipe(name: str) -> pathlib.Path:
    """The path of the recipe `name`, without what `split_argument` finds in it.

    Raises:
      ConfigError: when there is no such file; names the shipped ones.
    """
    name = split_argument(name)[0]
    for folder in [pathlib.Path.cwd(), *recipe_folders()]:
        if (folder / name).is_file():
            return (folder / name).resolve()
    shipped = sorted(
        f"configs/{p.name}" for f in recipe_folders() for p in (f / "configs").glob("*.py")
    )
    shipped = [s for s in shipped if s.removeprefix("configs/") not in SHARED]
    raise ConfigError(
        f"--config {name}: no such file{nearest(name, shipped)} Shipped: {', '.join(shipped)}."
    )


def split_argument(name: str) -> tuple[str, str | None]:
    """`file.py:argument` in its two parts; the argument goes to `get_config`."""
    file, colon, argument = name.partition(".py:")
    return (f"{file}.py", argument) if colon else (name, None)


def on_slice(name: str, slice_name: str) -> str:
    """The recipe `name` as it is for a slice, if its `get_config` takes a `target`; else as it is."""
    if "target" not in inspect.signature(_module(name).get_config).parameters:
        return name
    file, argument = split_argument(name)
    return f"{file}:{argument},{slice_name}" if argument else f"{file}:{slice_name}"


def load_recipe(name: str) -> ml_collections.ConfigDict:
    """The ConfigDict that the recipe's `get_config()` returns, or `get_config(argument)` of `file.py:argument`.

    Raises:
      ConfigError: there is no such file, it is not a recipe, or it takes no such argument.
    """
    argument = split_argument(name)[1]
    module = _module(name)
    if argument is None:
        return module.get_config()
    if not inspect.signature(module.get_config).parameters:
        raise ConfigError(
            f"{name}: the recipe takes no argument, got {argument!r} after the colon."
        )
    return module.get_config(argument)


def _module(name: str) -> types.ModuleType:
    path = find_recipe(name)
    for folder in recipe_folders()[:1]:
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location("recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path}: a recipe defines get_config(), this file does not.")
    return module


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
