"""The program as a command: `jaxreason` or `python -m jaxreason`."""

import signal

from jaxreason.data.tokenizer_library import hide_torch
from jaxreason.errors import end_threads
from jaxreason.host_memory import no_collection


def main() -> None:
    """Starts the program in a process of its own."""
    hide_torch()
    with no_collection(freeze=True):
        from jaxreason import cli
    try:
        cli.main()
    finally:
        end_threads()
        # Everything is saved and said, so a second Ctrl-C while Python ends needs no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
