"""What errors of the protocol mean for the engine (RFC 5530, and the words of servers without its codes)."""

import re
from typing import Final

from services.mail.providers.errors import (
    LimitError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    TokenRefusedError,
    TooConcurrentError,
    UnreadableMessageError,
)
from services.mail.providers.imap.client.errors import (
    ImapError,
    LoginRefusedError,
    MalformedResponseError,
    RefusedError,
)

_TEMPORARY: Final = frozenset({"UNAVAILABLE", "SERVERBUG", "INUSE", "EXPUNGEISSUED"})
_CONNECTIONS: Final = re.compile(r"(?:simultaneous|too many|number of) .{0,40}connections", re.IGNORECASE)
_THROTTLED: Final = re.compile(r"throttled|rate limit|too many (?:requests|commands|logins)", re.IGNORECASE)
_BACKOFF: Final = re.compile(r"Backoff Time: (\d{1,12}) milliseconds", re.IGNORECASE)
_ABSENT: Final = re.compile(r"(?:doesn't|does not) exist|no such|not found|unknown (?:mailbox|folder)", re.IGNORECASE)
# Seconds without calls after a limit whose end the server does not name, and the longest time that is believed.
_PAUSE: Final = 60.0
_LONGEST_PAUSE: Final = 600.0


def provider_error(error: ImapError) -> ProviderError:
    """Return the engine's error for one of the protocol."""
    if isinstance(error, RefusedError):
        return _refused(error)
    if isinstance(error, MalformedResponseError):
        return UnreadableMessageError(str(error))
    return _limit(str(error)) or ProviderUnavailableError(str(error))


def sign_in_error(error: ImapError) -> ProviderError:
    """Return the engine's error for a sign-in that failed.

    Where the account has as many connections as it may, to request fewer messages at once helps nothing: the mailbox
    waits longer and longer.
    """
    found = provider_error(error)
    is_full = isinstance(found, TooConcurrentError) or (isinstance(error, RefusedError) and error.code == "LIMIT")
    return ProviderUnavailableError(str(error)) if is_full else found


def _refused(error: RefusedError) -> ProviderError:
    if limit := _limit(str(error)):
        return limit
    if error.code in _TEMPORARY:
        return ProviderUnavailableError(str(error))
    if error.code in ("LIMIT", "THROTTLED"):
        return RateLimitedError(str(error), retry_after=_PAUSE)
    return TokenRefusedError(str(error)) if isinstance(error, LoginRefusedError) else RejectedError(str(error))


def _limit(text: str) -> ProviderError | None:
    if _CONNECTIONS.search(text):
        return TooConcurrentError(text)
    if _THROTTLED.search(text):
        named = _BACKOFF.search(text)
        seconds = _PAUSE if named is None else int(named[1]) / 1_000
        return RateLimitedError(text, retry_after=min(_LONGEST_PAUSE, seconds))
    return None


def is_rejection(error: RefusedError) -> bool:
    """Return whether the server refuses the command itself: it is neither busy, nor at a limit."""
    return isinstance(provider_error(error), RejectedError)


def is_of_messages(error: ImapError) -> bool:
    """Return whether a fetch may fail because of one of its messages: not if a limit is reached."""
    return not isinstance(provider_error(error), LimitError)


def is_absence(error: RefusedError) -> bool:
    """Return whether the server says that a folder does not exist."""
    return error.code == "NONEXISTENT" or (error.status == "NO" and _ABSENT.search(error.text) is not None)
