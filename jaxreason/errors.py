"""The one class of errors that a user can cause and fix, and the end of threads when the program ends."""

import threading

USERS_FAULT = 2  # The program's exit code after an error that a user must fix.
# After any other one: the same command may succeed later, so launchers start it again.
TRY_AGAIN = 1
_BUSY = (408, 429)  # Answers of a server that ask for patience, as all from 500 on do.


class UserError(ValueError):
    """One message: what was expected, what was given, where, and what to do. It is shown without a traceback.

    Any other exception is a bug of this program.
    """


class UnreachableError(UserError):
    """A service cannot be reached now. It is shown as a user's error is, but the same command may succeed later."""


def exit_code(error: BaseException) -> int:
    """Returns the program's exit code after an error that is shown as one message."""
    return TRY_AGAIN if is_unreachable(error) else USERS_FAULT


def is_unreachable(error: BaseException | None) -> bool:
    """Returns whether an error is an UnreachableError, or was raised from one to say more."""
    while error is not None and not isinstance(error, UnreachableError):
        error = error.__cause__
    return error is not None


def hub_error(message: str, error: BaseException) -> UserError:
    """Returns the error for what the Hugging Face Hub did not give: an UnreachableError if it may give it later.

    Args:
      message: of the new error.
      error: what its client raised. It hides a lost connection behind a missing entry of its cache.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    hidden = isinstance(error, LocalEntryNotFoundError)
    cause = error.__cause__ if hidden else error
    if cause is None or isinstance(cause, OfflineModeIsEnabled):
        return UserError(message)  # This user wants no connection.
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if status is not None:
        later = status in _BUSY or status >= 500
    else:
        later = hidden or isinstance(cause, ConnectionError | TimeoutError)
    return UnreachableError(message) if later else UserError(message)


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
