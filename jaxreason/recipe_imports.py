"""What a recipe can import: the shipped `configs`, its neighbours, and a `configs` package of the user's own.

The shipped files are run once, under `jaxreason.configs`, and what they import from `configs` is always one another.
While another recipe runs, `configs` has the shipped files too, unless the recipe lies in a folder `configs` that has
a file of the same name; and files beside the recipe can be imported by their names. Afterwards all is as it was.
"""

import contextlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Iterator

_PACKAGE = pathlib.Path(__file__).resolve().parent
_OURS = "jaxreason.configs"


def shipped_folder() -> pathlib.Path:
    """The shipped `configs`: the checkout's, or the wheel's copy."""
    folders = (_PACKAGE.parent / "configs", _PACKAGE / "recipes_data" / "configs")
    return next(f for f in folders if (f / "sections.py").exists() and (f / "qwen3.py").exists())


@contextlib.contextmanager
def importable(recipe: pathlib.Path) -> Iterator[None]:
    """While the code of `recipe` runs, its imports find what the module's docstring says."""
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
    """The module that the file is, run anew. Raises whatever its code raises."""
    spec = importlib.util.spec_from_file_location("recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _shipped_modules() -> dict[str, types.ModuleType]:
    """`configs.<name>` -> the shipped module of that name; all are run at the first call."""
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
    """Meanwhile `configs` and what is in it are these modules and no others."""
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
    """Meanwhile files in `folder` can be imported by their names; what was imported of them is forgotten."""
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
