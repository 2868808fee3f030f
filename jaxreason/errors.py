"""The one class of errors that a user can cause and fix, and the end of threads when the program ends."""

import threading

USERS_FAULT = 2  # The program's exit code after an error that a user must fix.


class UserError(ValueError):
    """One message: what was expected, what was given, where, and what to do. It is shown without a traceback.

    Any other exception is a bug of this program.
    """


_ENDING = threading.Event()


def end_threads() -> None:
    """Says that this process ends. Python waits for its threads, so those that call `check_running` stop early."""
    _ENDING.set()


def check_running(work: str) -> None:
    """Ends the work of a thread if this process ends.

    Args:
      work: what the thread does, for the message, which nobody sees.

    Raises:
      RuntimeError: `end_threads` was called.
    """
    if _ENDING.is_set():
        raise RuntimeError(f"the program ended before this was done: {work}")
