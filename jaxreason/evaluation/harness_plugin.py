"""Makes `jaxreason` one of lm-eval's models, also in releases of lm-eval that do not read entry points.

Our distribution names the model in the entry-point group `lm_eval.models`, which lm-eval is meant to read. Up to 0.4.13
it does not, so a wheel also brings `jaxreason_lm_eval.pth`, which calls `install` only in lm-eval's own program.
`python -m jaxreason.evaluation.harness_plugin ARGUMENTS` is lm-eval's program if there is only a checkout.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

NAME = "jaxreason"
TARGET = "jaxreason.evaluation.harness_loading:LoadedHarnessModel"
_MODELS = (
    # Importing this module fills lm-eval's registry; an empty registry shows that it has not been imported.
    "lm_eval.models"
)


def register() -> None:
    """Registers the model in this process, so that `simple_evaluate(model="jaxreason", model_args=...)` finds it."""
    import lm_eval.models  # noqa: F401
    from lm_eval.api.registry import model_registry

    if NAME not in model_registry:
        model_registry.register(NAME, target=TARGET)


def install() -> None:
    """Registers the model as soon as lm-eval has registered its own."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds lm-eval's models as Python does, and registers our model after them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == _MODELS else None
        if spec is None or spec.loader is None:
            return None
        sys.meta_path.remove(self)
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            load(module)
            register()

        spec.loader.exec_module = load_and_register
        return spec


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    register()
    cli_evaluate()
