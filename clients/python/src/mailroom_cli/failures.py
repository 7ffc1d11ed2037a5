"""How failures end the command: one line on stderr and an exit code."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mailroom_cli import exit_codes

if TYPE_CHECKING:
    from mailroom_client import MailroomError


class CommandError(Exception):
    """A failure with words for the user."""

    def __init__(self, message: str, *, code: int = exit_codes.FAILED) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def reported() -> Generator[None]:
    """End the process with one line and a code for whatever the block raises that users can meet."""
    from mailroom_client import MailroomError

    try:
        yield
    except CommandError as error:
        _end(str(error), error.code)
    except MailroomError as error:
        _end(_words(error), _code(error))
    except BrokenPipeError:
        # The reader has enough: `| head`. Python would complain when it flushes at exit.
        sys.stderr.close()
        sys.exit(exit_codes.FAILED)
    except KeyboardInterrupt:
        sys.exit(exit_codes.INTERRUPTED)


def _end(message: str, code: int) -> None:
    sys.stderr.write(f"mailroom: {message}\n")
    sys.exit(code)


def _code(error: "MailroomError") -> int:
    from mailroom_client import (
        NotAuthorizedError,
        NotFoundError,
        ResyncRequiredError,
        TooManyRequestsError,
        UnreachableError,
    )

    codes: dict[type[MailroomError], int] = {
        NotAuthorizedError: exit_codes.NOT_AUTHORIZED,
        NotFoundError: exit_codes.NOT_FOUND,
        ResyncRequiredError: exit_codes.RESYNC_REQUIRED,
        TooManyRequestsError: exit_codes.TOO_MANY_REQUESTS,
        UnreachableError: exit_codes.UNREACHABLE,
    }
    return codes.get(type(error), exit_codes.FAILED)


def _words(error: "MailroomError") -> str:
    from mailroom_client import NotAuthorizedError

    if isinstance(error, NotAuthorizedError):
        return f"{error}\nsign in with: mailroom login"
    return str(error)
