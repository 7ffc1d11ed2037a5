"""Gmail's error answers by HTTP status and reason, in both of the shapes that coexist.

An answer is Gmail's own only if its body is Google's error object. Proxies, captive portals and outage pages use the
same statuses and say nothing about mail. Sources: Gmail API guide "Resolve errors"; google.rpc.Code,
google.rpc.ErrorInfo (AIP-193); RFC 6750 section 3.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from services.mail.providers.errors import (
    AccessDeniedError,
    AdminPolicyError,
    MailboxDisabledError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    RouteMissingError,
    ScopeMissingError,
    TokenRefusedError,
    TooConcurrentError,
    UnclearLimitError,
)
from services.mail.providers.gmail.http.retry_time import seconds_to_wait


class NotFoundError(ProviderUnavailableError):
    """Gmail does not have the object of the call. Methods convert it to their own errors; elsewhere it is an outage."""


class InvalidArgumentError(RejectedError):
    """Gmail refuses a parameter."""


class _Limit(NamedTuple):
    """A limit of quota: its scope, and the seconds to wait if the answer names no time."""

    whole_project: bool
    pause: float
    error: type[RateLimitedError] = RateLimitedError


_MAILBOX: Final = _Limit(whole_project=False, pause=5.0)
_PROJECT: Final = _Limit(whole_project=True, pause=10.0)
_UNCLEAR: Final = _Limit(whole_project=False, pause=10.0, error=UnclearLimitError)
_DAY: Final = _Limit(whole_project=True, pause=900.0)

_ANY: Final = "any"
# The body is not Google's error object.
_FOREIGN: Final = "foreign"


class _Row(NamedTuple):
    """HTTP status; reasons, one of which is the answer's most specific one; words in its message, "" for any."""

    status: int
    reasons: str
    words: str
    means: type[ProviderError] | _Limit


# The first matching row decides. Without one the provider is unavailable.
_TABLE: Final = (
    _Row(400, "failedPrecondition FAILED_PRECONDITION", "mail service not enabled", MailboxDisabledError),
    _Row(400, "failedPrecondition FAILED_PRECONDITION", "", RejectedError),
    _Row(400, _ANY, "", InvalidArgumentError),
    _Row(401, _ANY, "", TokenRefusedError),
    _Row(403, _ANY, "too many concurrent requests", TooConcurrentError),
    _Row(403, "dailyLimitExceeded", "", _DAY),
    _Row(403, "accessNotConfigured SERVICE_DISABLED", "", ProviderUnavailableError),
    _Row(403, "insufficientPermissions ACCESS_TOKEN_SCOPE_INSUFFICIENT", "", ScopeMissingError),
    _Row(403, "domainPolicy", "", AdminPolicyError),
    _Row(403, "forbidden PERMISSION_DENIED", "scope", ScopeMissingError),
    # Quota errors have PERMISSION_DENIED too. Without `errors` and `details` only their words tell them from denials.
    _Row(403, "forbidden PERMISSION_DENIED", "daily limit exceeded", _DAY),
    _Row(403, "forbidden PERMISSION_DENIED", "rate limit exceeded", _MAILBOX),
    _Row(403, "forbidden PERMISSION_DENIED", "quota exceeded", _MAILBOX),
    _Row(403, "forbidden PERMISSION_DENIED", "has not been used in project", ProviderUnavailableError),
    _Row(403, "forbidden PERMISSION_DENIED", "administrators have disabled", AdminPolicyError),
    _Row(403, "forbidden PERMISSION_DENIED", "", AccessDeniedError),
    _Row(403, "rateLimitExceeded RATE_LIMIT_EXCEEDED", "user", _MAILBOX),
    _Row(403, "rateLimitExceeded RATE_LIMIT_EXCEEDED", "", _PROJECT),
    _Row(403, "userRateLimitExceeded quotaExceeded RESOURCE_EXHAUSTED", "", _MAILBOX),
    _Row(403, _ANY, "rate limit", _MAILBOX),
    _Row(403, _ANY, "quota", _MAILBOX),
    _Row(404, _ANY, "", NotFoundError),
    _Row(404, _FOREIGN, "", RouteMissingError),
    _Row(405, _ANY, "", RouteMissingError),
    _Row(405, _FOREIGN, "", RouteMissingError),
    _Row(410, _ANY, "", NotFoundError),
    _Row(413, _ANY, "", RejectedError),
    _Row(413, _FOREIGN, "", RejectedError),
    _Row(429, _ANY, "too many concurrent requests", TooConcurrentError),
    _Row(429, "dailyLimitExceeded", "", _DAY),
    _Row(429, "rateLimitExceeded RATE_LIMIT_EXCEEDED", "user", _MAILBOX),
    _Row(429, "rateLimitExceeded RATE_LIMIT_EXCEEDED", "quota metric", _PROJECT),
    # As "Resource has been exhausted (e.g. check quota).", which mailboxes meet one by one.
    _Row(429, "rateLimitExceeded RATE_LIMIT_EXCEEDED", "", _UNCLEAR),
    _Row(429, _ANY, "", _MAILBOX),
    _Row(429, _FOREIGN, "", _MAILBOX),
    _Row(501, _ANY, "", RouteMissingError),
    _Row(501, _FOREIGN, "", RouteMissingError),
)

# The names of google.rpc.Code that stand for errors.
_CODE_NAMES: Final = frozenset(
    {
        *("CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
        *("PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED"),
        *("OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    }
)
_BEARER: Final = re.compile(r"\bbearer\b", re.IGNORECASE)


class _ErrorBody(NamedTuple):
    """A parsed error body. `reason` is the most specific one, "" if Google's error object has none, or _FOREIGN."""

    reason: str
    message: str


def parse_error(
    status: int,
    body: bytes | bytearray | str,
    *,
    now: Callable[[], datetime],
    retry_after: str | None = None,
    challenge: str | None = None,
) -> ProviderError:
    """Return the error of an unsuccessful answer. The body need not be JSON.

    `retry_after` and `challenge` are its Retry-After and WWW-Authenticate headers; Google rarely sends the first.
    """
    answer = _read(status, body)
    if answer.reason == _FOREIGN and status == 401 and _refuses_token(body, challenge):
        return TokenRefusedError("401")
    row = _deciding_row(status, answer)
    detail = f"{status} {answer.reason} {answer.message}".strip()[:200]
    if row is None:
        return ProviderUnavailableError(detail)
    if isinstance(row.means, _Limit):
        pause = seconds_to_wait(answer.message, header=retry_after, now=now())
        return row.means.error(
            detail, retry_after=row.means.pause if pause is None else pause, whole_project=row.means.whole_project
        )
    return row.means(detail)


def _deciding_row(status: int, answer: _ErrorBody) -> _Row | None:
    message = answer.message.lower()
    return next(
        (
            row
            for row in _TABLE
            if row.status == status and row.words in message and _has_reason(row, answer.reason.lower())
        ),
        None,
    )


def _has_reason(row: _Row, reason: str) -> bool:
    if row.reasons == _ANY:
        return reason != _FOREIGN
    return reason in row.reasons.lower().split()


def _refuses_token(body: bytes | bytearray | str, challenge: str | None) -> bool:
    """Return whether a 401 without Google's error object refuses our token.

    Wrongly blaming the token costs one new token; wrongly blaming a proxy stops a mailbox until the token expires. So
    only HTML, or a challenge of another scheme than Bearer, counts as a proxy's.
    """
    if challenge is not None:
        return _BEARER.search(challenge) is not None
    opening = "<" if isinstance(body, str) else b"<"
    return not body.lstrip().startswith(opening)  # type: ignore[arg-type]  # of the same type as the body


def _read(status: int, body: bytes | bytearray | str) -> _ErrorBody:
    """Parse Google's error object, whose code must be the status of the answer, or which must have a reason.

    The most specific reason is the first of errors[].reason, details[].reason and status.
    """
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        error = None
    if not isinstance(error, dict):
        return _ErrorBody(_FOREIGN, "")
    code, name = error.get("code"), error.get("status")
    reasons = [_first_reason(error.get("errors")), _first_reason(error.get("details"))]
    if isinstance(name, str) and name in _CODE_NAMES:
        reasons.append(name)
    reason = next(filter(None, reasons), "")
    if not reason and str(code) != str(status):
        return _ErrorBody(_FOREIGN, "")
    message = error.get("message")
    return _ErrorBody(reason, message if isinstance(message, str) else "")


def _first_reason(entries: Any) -> str:
    found = [entry.get("reason") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return next((reason for reason in found if isinstance(reason, str) and reason), "")


def now() -> datetime:
    """Return the time from which pauses count."""
    return datetime.now(UTC)
