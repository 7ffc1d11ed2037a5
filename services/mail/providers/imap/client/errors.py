"""The errors of the protocol client."""

from typing import Final

# Longest text of a server that an error carries.
_LONGEST_TEXT: Final = 300


class ImapError(Exception):
    """A failure of a connection or of a command."""


class ConnectionLostError(ImapError):
    """The connection is closed: by the server, by the network, or by the client after a time-out or a violation."""


class SilenceError(ConnectionLostError):
    """The server sent nothing for too long."""


class FramingError(ConnectionLostError):
    """The server's bytes exceed a limit or break the protocol, so the end of the response is unknown."""


class MalformedResponseError(ImapError):
    """One response cannot be interpreted. The connection goes on."""


class UnsafeArgumentError(ImapError, ValueError):
    """An argument contains bytes that would end the command or start another one."""


class RefusedError(ImapError):
    """The server answers a command with NO or BAD.

    `code` is the response code in upper case (RFC 5530), empty if there is none; `text` is the server's, shortened.
    """

    def __init__(self, command: str, *, status: str, code: str = "", text: str = "") -> None:
        self.command = command
        self.status = status
        self.code = code
        self.text = text[:_LONGEST_TEXT]
        super().__init__(f"{command}: {status} [{code}] {self.text}" if code else f"{command}: {status} {self.text}")


class LoginRefusedError(RefusedError):
    """The server refuses the token, or the user's access by IMAP."""


class NoMechanismError(ImapError):
    """The server offers no mechanism that takes an OAuth token."""
