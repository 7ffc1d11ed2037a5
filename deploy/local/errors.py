"""The one error that the embedded stack shows to its user."""


class StackError(Exception):
    """Something that the user can put right; its text is one line, printed without a traceback."""
