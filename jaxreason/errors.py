"""The one class of errors that a user can cause and mend; anything else that is raised is our own fault."""


class UserError(ValueError):
    """One message: what was expected, what came, where, and what to do. Shown without a traceback."""
