"""Finds, loads and overrides a recipe: a Python file whose `get_config()` returns a ConfigDict.

A recipe is first looked for as a path, then by file or name among those shipped with the package. So
`--config configs/study_tiny.py` and `--config study_tiny` work both in a checkout and with a wheel.
"""

import contextlib
import copy
import importlib.util
import inspect
import pathlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import ml_collections

from jaxreason.config import ConfigError, nearest
from jaxreason.errors import UserError

_PACKAGE = pathlib.Path(__file__).resolve().parent
_OURS = "jaxreason.configs"


def shipped_folder() -> pathlib.Path:
    """Returns the folder of the shipped `configs`: the checkout's, or the wheel's copy."""
    folders = (_PACKAGE.parent / "configs", _PACKAGE / "recipes_data" / "configs")
    return next(f for f in folders if (f / "sections.py").exists() and (f / "qwen3.py").exists())


@contextlib.contextmanager
def importable(recipe: pathlib.Path) -> Iterator[None]:
    """Inside this context, the code of `recipe` can import shipped modules and its own.

    A shipped recipe finds in `configs` the shipped modules only. Another recipe can also import files beside it by
    name, and modules of a folder `configs` that it is in, that is beside it, or that is in the current folder. A
    shipped module is replaced only by one of the same name in the folder `configs` that the recipe is in.
    """
    recipe = recipe.resolve()
    ours = _shipped_modules()
    if recipe.parent == shipped_folder():
        with _only({"configs": _package("configs", [shipped_folder()]), **ours}):
            yield
        return
    own = [f for f in (recipe.parent, recipe.parent / "configs", pathlib.Path.cwd() / "configs")]
    own = [f for f in own if f.name == "configs" and f.is_dir() and f != shipped_folder()]
    vendored = {
        f"configs.{path.stem}" for f in own if f == recipe.parent for path in f.glob("*.py")
    }
    known = {name: module for name, module in ours.items() if name not in vendored}
    package = _package("configs", [*own, shipped_folder()])
    with _only({"configs": package, **known}), _neighbours(recipe.parent):
        yield


def run_file(path: pathlib.Path) -> types.ModuleType:
    """Runs the file as a new module and returns it. Raises what its code raises."""
    spec = importlib.util.spec_from_file_location("recipe", path)
    assert spec and spec.loader  # It is None for a suffix that Python cannot load.
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _shipped_modules() -> dict[str, types.ModuleType]:
    """Returns `configs.<name>` -> the shipped module of that name; the first call runs all of them."""
    names = sorted(path.stem for path in shipped_folder().glob("*.py"))
    if _OURS not in sys.modules:
        package = _package("configs", [shipped_folder()])
        with _only({"configs": package}):
            found = {name: importlib.import_module(f"configs.{name}") for name in names}
        sys.modules[_OURS] = package
        sys.modules.update({f"{_OURS}.{name}": module for name, module in found.items()})
    return {f"configs.{name}": sys.modules[f"{_OURS}.{name}"] for name in names}


def _package(name: str, folders: list[pathlib.Path]) -> types.ModuleType:
    package = types.ModuleType(name)
    package.__path__ = [str(folder) for folder in folders]
    return package


@contextlib.contextmanager
def _only(modules: dict[str, types.ModuleType]) -> Iterator[None]:
    """Inside this context, `configs` and everything in it are these modules and no others."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_config(name)}
    sys.modules.update(modules)
    package = modules["configs"]
    for name, module in modules.items():
        if name != "configs":
            setattr(package, name.partition(".")[2], module)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_config(name)]:
            del sys.modules[name]
        sys.modules.update(before)


def _is_config(name: str) -> bool:
    return name == "configs" or name.startswith("configs.")


@contextlib.contextmanager
def _neighbours(folder: pathlib.Path) -> Iterator[None]:
    """Inside this context, files in `folder` can be imported by their names; afterwards these imports are forgotten."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and pathlib.Path(file).parent == folder:
                del sys.modules[name]


SHARED = (
    "sections.py",
    "tiny.py",
    "qwen3.py",
    "qwen3_study.py",
    "paper_benchmarks.py",
)  # Recipes are made of this.


def find_recipe(name: str) -> pathlib.Path:
    """Returns the path of the recipe `name`, which must not have an argument (`split_argument`).

    Raises:
      ConfigError: there is no such file; lists the shipped recipes.
    """
    name = split_argument(name)[0]
    if not name:
        raise ConfigError("--config: expected a Python file with get_config(), got nothing.")
    for path in _candidates(name):
        if path.is_file() and path.suffix == ".py":
            return path.resolve()
    if pathlib.Path(name).exists():
        found = "a folder" if pathlib.Path(name).is_dir() else "no .py file"
        raise ConfigError(f"--config {name}: expected a Python file with get_config(), is {found}.")
    shipped = sorted(p.stem for p in shipped_folder().glob("*.py") if p.name not in SHARED)
    known = [f"configs/{stem}.py" for stem in shipped] if name.endswith(".py") else shipped
    raise ConfigError(
        f"--config {name}: no such file{nearest(name, known) or '.'} Shipped: {', '.join(shipped)}. "
        "`jaxreason init` writes a recipe for a model and data of your own."
    )


def _candidates(name: str) -> list[pathlib.Path]:
    """Returns where `name` may be: a path here, one among the shipped `configs`, or a shipped recipe's name."""
    shipped = shipped_folder()
    by_path = [pathlib.Path.cwd() / name, shipped.parent / name]
    return [*by_path, shipped / name, *(shipped / f"{name}.py",) * (not name.endswith(".py"))]


def split_argument(name: str) -> tuple[str, str | None]:
    """Splits `file.py:argument` or `name:argument` into its two parts; the argument is passed to `get_config`."""
    file, colon, argument = name.partition(".py:")
    if colon:
        return f"{file}.py", argument
    file, colon, argument = name.partition(":")
    # The argument may be a path, and so may the whole name (`gs://...`).
    a_name = "/" not in name or (shipped_folder() / f"{file}.py").is_file()
    return (file, argument) if colon and a_name else (name, None)


def on_slice(name: str, slice_name: str) -> str:
    """Returns the name of the recipe for a slice if its `get_config` takes a `target`; else `name` itself."""
    path = find_recipe(name)
    with importable(path):
        if "target" not in inspect.signature(_module(path).get_config).parameters:
            return name
    file, argument = split_argument(name)
    return f"{file}:{argument},{slice_name}" if argument else f"{file}:{slice_name}"


def load_recipe(name: str) -> ml_collections.ConfigDict:
    """Returns the ConfigDict of the recipe's `get_config()`, or of `get_config(argument)` for `file.py:argument`.

    Raises:
      ConfigError: there is no such file, it is not a recipe, it takes no such argument, or its code raises.
    """
    argument = split_argument(name)[1]
    path = find_recipe(name)
    with importable(path):
        get_config = _module(path).get_config
        if argument is not None and not inspect.signature(get_config).parameters:
            raise ConfigError(
                f"{name}: the recipe takes no argument, got {argument!r} after the colon."
            )
        try:
            config = get_config() if argument is None else get_config(argument)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(_said(path, error)) from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise ConfigError(
            f"{path}: get_config() has to return a ml_collections.ConfigDict, it returned {config!r}."
        )
    _unshare(config, set())
    return config


def _unshare(node: ml_collections.ConfigDict, seen: set[int]) -> None:
    """Copies a section that stands in several places, so that an override changes only the place that it names."""
    seen.add(id(node))
    for name, value in node.items():
        if isinstance(value, ml_collections.ConfigDict):
            if id(value) in seen:
                with node.unlocked(), node.ignore_type():
                    node[name] = value = ml_collections.ConfigDict(value.to_dict())
            _unshare(value, seen)


def _module(path: pathlib.Path) -> types.ModuleType:
    try:
        module = run_file(path)
    except UserError:
        raise
    except SyntaxError as error:  # Wrong Python, or bytes that are not UTF-8.
        where = f"{error.filename or path}, line {error.lineno or 1}"
        raise ConfigError(f"{where}: the recipe is not valid Python: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(_said(path, error)) from error
    if not callable(getattr(module, "get_config", None)):
        raise ConfigError(f"{path}: a recipe defines get_config(), this file does not.")
    return module


def _said(path: pathlib.Path, error: BaseException) -> str:
    """Describes an error that a recipe's own code raised, with the line of the recipe."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{path}, line {line}: the recipe raised {type(error).__name__}: {error}"


def merged(
    section: ml_collections.ConfigDict, overrides: Any, path: str
) -> ml_collections.ConfigDict:
    """Returns a copy of `section` in which `overrides` (nested, with the same names) replace fields.

    Raises:
      ConfigError: the section has no field of a name.
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
