"""Refusals of commands."""


class NoError(Exception):
    """The server refuses a well-formed command. `code` is a response code without brackets, or empty."""

    def __init__(self, text: str, *, code: str = "") -> None:
        super().__init__(text)
        self.code = code

    def __str__(self) -> str:
        """Return the text of the tagged response."""
        text = super().__str__()
        return f"[{self.code}] {text}" if self.code else text


class BadError(Exception):
    """The command is malformed, unknown, or not allowed in this state."""


class MalformedCommandError(Exception):
    """A line is no command; `tag` is `*` if it has none."""

    def __init__(self, text: str, *, tag: str = "*") -> None:
        super().__init__(text)
        self.tag = tag


class DisconnectError(Exception):
    """The connection ends. With a text it is told first (BYE)."""
