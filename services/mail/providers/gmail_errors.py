"""Gmail's error answers, in both of the shapes that coexist, to ours.

Source: Gmail API guide "Resolve errors"; google.rpc.ErrorInfo (AIP-193).
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
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

_RETRY_AFTER = re.compile(r"Retry after (\d{4}-\d\d-\d\dT[\d:.]+Z?)", re.IGNORECASE)
_RATE_REASONS = frozenset(
    {"ratelimitexceeded", "userratelimitexceeded", "rate_limit_exceeded", "quotaexceeded", "resource_exhausted"}
)
_DAILY_REASONS = frozenset({"dailylimitexceeded"})
_DENIED_REASONS = frozenset({"insufficientpermissions", "access_token_scope_insufficient", "domainpolicy"})
_MISCONFIGURED_REASONS = frozenset({"accessnotconfigured", "service_disabled"})


def parse_error(status: int, body: bytes, *, now: Callable[[], datetime], retry_after: str | None) -> ProviderError:
    """The error that an answer with a status of 400 or more stands for. The body need not be JSON.

    `retry_after` is the answer's Retry-After header, in seconds; Google sends none by default.
    """
    reason, message = _reason_and_message(body)
    if status == 401:
        return TokenRefusedError(reason)
    if status in (404, 410):
        return MessageGoneError(message)
    if status in (403, 429):
        return _refusal(status, reason, message, now=now(), retry_after=retry_after)
    if status in (408, 409, 412) or status >= 500:
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
    seconds: float | None = None
    if retry_after is not None and retry_after.strip().isdecimal():
        seconds = float(retry_after)
    elif match := _RETRY_AFTER.search(message):
        try:
            until = datetime.fromisoformat(match[1].rstrip("Zz.")).replace(tzinfo=UTC)
        except ValueError:
            return None
        seconds = (until - now).total_seconds()
    return None if seconds is None else min(max(seconds, 0.5), _LONGEST_PAUSE)


def _reason_and_message(body: bytes) -> tuple[str, str]:
    """The most telling reason, in lower case, and the message: errors[].reason, details[].reason, then status."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, TypeError, KeyError):
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
