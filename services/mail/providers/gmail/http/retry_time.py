"""The pause that Gmail asks for, from the error's message or the Retry-After header.

Source: Gmail API guide "Resolve errors"; RFC 9110 section 10.2.3.
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# Longest pause in seconds.
_LONGEST = 3600.0
_SHORTEST = 0.5
# A call that is slightly early would extend the pause.
_MARGIN = 0.1
_IN_MESSAGE = re.compile(r"Retry after (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?)", re.IGNORECASE)


def seconds_to_wait(message: str, *, header: str | None, now: datetime) -> float | None:
    """Return the seconds until the time named in an answer, within bounds; None if it names none."""
    until = _from_message(message) or _from_header(header, now=now)
    if until is None:
        return None
    return min(max((until - now).total_seconds() + _MARGIN, _SHORTEST), _LONGEST)


def _from_message(message: str) -> datetime | None:
    match = _IN_MESSAGE.search(message)
    try:
        return datetime.fromisoformat(match[1]).replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def _from_header(value: str | None, *, now: datetime) -> datetime | None:
    if value is None:
        return None
    try:
        return now + timedelta(seconds=int(value))
    except (ValueError, OverflowError):
        pass
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
