"""Gmail's error answers, in both of the shapes that coexist, to ours.

Source: Gmail API guide "Resolve errors"; google.rpc.ErrorInfo (AIP-193).
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from services.mail.providers.base import (
    AccessDeniedError,
    MessageGoneError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RejectedError,
    TokenRefusedError,
    TooConcurrentError,
)

# Seconds to leave a mailbox or the project alone where the answer names no time.
_MAILBOX_PAUSE = 5.0
_PROJECT_PAUSE = 10.0
_DAY_PAUSE = 900.0
_LONGEST_PAUSE = 3600.0
_SHORTEST_PAUSE = 0.5
# Asking a moment too early moves the time further out.
_PAUSE_MARGIN = 0.1

_RETRY_AFTER = re.compile(r"Retry after (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)", re.IGNORECASE)
_RATE_REASONS = frozenset(
    {"ratelimitexceeded", "userratelimitexceeded", "rate_limit_exceeded", "quotaexceeded", "resource_exhausted"}
)
_DAILY_REASONS = frozenset({"dailylimitexceeded"})
_DENIED_REASONS = frozenset({"insufficientpermissions", "access_token_scope_insufficient", "domainpolicy"})
_MISCONFIGURED_REASONS = frozenset({"accessnotconfigured", "service_disabled"})


def parse_error(
    status: int, body: bytes | bytearray | str, *, now: Callable[[], datetime], retry_after: str | None
) -> ProviderError:
    """The error that an answer with a status of 400 or more stands for. The body need not be JSON.

    `retry_after` is the answer's Retry-After header; Google sends none by default.
    """
    reason, message = _reason_and_message(body)
    if status == 401:
        return TokenRefusedError(reason)
    if status in (404, 410):
        return MessageGoneError(message)
    if status in (403, 429):
        return _refusal(status, reason, message, now=now(), retry_after=retry_after)
    if status in (408, 409, 412) or (status >= 500 and status != 501):
        return ProviderUnavailableError(f"{status} {reason}")
    if "mail service not enabled" in message.lower():
        return AccessDeniedError(message)
    return RejectedError(f"{status} {reason} {message}"[:200])


def _refusal(status: int, reason: str, message: str, *, now: datetime, retry_after: str | None) -> ProviderError:
    text = message.lower()
    if "too many concurrent requests" in text:
        return TooConcurrentError(message)
    if reason in _DAILY_REASONS:
        return RateLimitedError(message, retry_after=_DAY_PAUSE, whole_project=True)
    if reason in _MISCONFIGURED_REASONS:
        return ProviderUnavailableError(message)
    if reason in _DENIED_REASONS:
        return AccessDeniedError(message)
    if status == 429 or reason in _RATE_REASONS or "rate limit" in text or "quota" in text:
        whole_project = reason == "ratelimitexceeded" and "user" not in text
        pause = _pause(message, now=now, retry_after=retry_after)
        default = _PROJECT_PAUSE if whole_project else _MAILBOX_PAUSE
        return RateLimitedError(message, retry_after=default if pause is None else pause, whole_project=whole_project)
    return AccessDeniedError(message)


def _pause(message: str, *, now: datetime, retry_after: str | None) -> float | None:
    until = _time_in_message(message) or _time_in_header(retry_after, now=now)
    if until is None:
        return None
    return min(max((until - now).total_seconds() + _PAUSE_MARGIN, _SHORTEST_PAUSE), _LONGEST_PAUSE)


def _time_in_message(message: str) -> datetime | None:
    match = _RETRY_AFTER.search(message)
    try:
        return datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def _time_in_header(value: str | None, *, now: datetime) -> datetime | None:
    """Retry-After is a number of seconds or an HTTP date (RFC 9110 section 10.2.3)."""
    if value is None:
        return None
    try:
        return now + timedelta(seconds=int(value))
    except (ValueError, OverflowError):
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _reason_and_message(body: bytes | bytearray | str) -> tuple[str, str]:
    """The most telling reason, in lower case, and the message: errors[].reason, details[].reason, then status."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return "", ""
    if not isinstance(error, dict):
        return str(error).lower(), ""
    reasons = [_first_reason(error.get("errors")), _first_reason(error.get("details")), error.get("status")]
    reason = next((value for value in reasons if isinstance(value, str) and value), "")
    return reason.lower(), str(error.get("message") or "")


def _first_reason(entries: Any) -> Any:
    if not isinstance(entries, list):
        return None
    return next((entry["reason"] for entry in entries if isinstance(entry, dict) and entry.get("reason")), None)
