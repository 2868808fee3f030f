"""transformers, of which only the tokenizers are used: imported at the first one, since that takes a second."""

import functools
import os
import sys
from types import ModuleType

_HIDDEN: list[bool] = []  # Not empty: transformers must not see PyTorch in this process.


def hide_torch() -> None:
    """Has transformers believe from now on that PyTorch is not installed; everyone else may import it.

    The program uses its tokenizers only. Where PyTorch is installed, some versions (5.17 is one) import it for them,
    which takes four seconds.
    """
    _HIDDEN.append(True)


@functools.cache
def tokenizer_library() -> ModuleType:
    """Returns transformers, imported at the first call."""
    if _HIDDEN and "torch" not in sys.modules:
        _import_without_torch()
    import transformers

    return transformers


def _import_without_torch() -> None:
    # It would warn that PyTorch is missing.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    sys.modules["torch"] = None  # type: ignore[assignment]  # Python then says that there is none.
    try:
        import transformers.utils

        transformers.utils.is_torch_available()  # It remembers the answer.
    finally:
        del sys.modules["torch"]
