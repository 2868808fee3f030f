"""The program as a command: `jaxreason` or `python -m jaxreason`."""

import os
import signal
import sys

from jaxreason.errors import end_threads
from jaxreason.host_memory import no_collection


def main() -> None:
    """Starts the program in a process of its own."""
    with no_collection(freeze=True):
        hide_torch()
        from jaxreason import cli
    try:
        cli.main()
    finally:
        end_threads()
        # Everything is saved and said, so a second Ctrl-C while Python ends needs no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def hide_torch() -> None:
    """Has transformers believe from now on that PyTorch is not installed; everyone else may import it.

    The program uses its tokenizers only. Where PyTorch is installed, some versions (5.17 is one) import it for them,
    which takes four seconds.
    """
    if "torch" in sys.modules:
        return
    # It would warn that PyTorch is missing.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    sys.modules["torch"] = None  # type: ignore[assignment]  # Python then says that there is none.
    try:
        import transformers.utils

        transformers.utils.is_torch_available()  # It remembers the answer.
    finally:
        del sys.modules["torch"]


if __name__ == "__main__":
    main()
