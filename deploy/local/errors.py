"""The error that the embedded stack shows to its user."""


class StackError(Exception):
    """An error that the user can correct; its text is one line, printed without a traceback."""
