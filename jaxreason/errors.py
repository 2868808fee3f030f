"""The one class of errors that a user can cause and fix. Any other exception is a bug of this program."""


class UserError(ValueError):
    """One message: what was expected, what was given, where, and what to do. It is shown without a traceback."""
