"""Times as people say them."""

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_WEEK = 7 * _DAY


def parse_time(text: str) -> datetime:
    """Return a time of the API (RFC 3339)."""
    return datetime.fromisoformat(text).astimezone(UTC)


def relative(moment: datetime, now: datetime) -> str:
    """Return how long ago, or in how long: `just now`, `5 min ago`, `in 2 h`; beyond a week the date."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) >= _WEEK:
        return f"{moment:%-d %b %Y}"
    if abs(seconds) < 45:
        return "just now" if seconds >= 0 else "in a moment"
    amount = _amount(abs(seconds))
    return f"{amount} ago" if seconds >= 0 else f"in {amount}"


def exact(moment: datetime) -> str:
    """Return the time to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """Return a length of time: `less than a minute`, `about 5 min`."""
    return "less than a minute" if seconds < _MINUTE else f"about {_amount(seconds)}"


def _amount(seconds: float) -> str:
    if seconds < _HOUR:
        return f"{max(1, round(seconds / _MINUTE))} min"
    if seconds < _DAY:
        return f"{round(seconds / _HOUR)} h"
    days = round(seconds / _DAY)
    return f"{days} day" if days == 1 else f"{days} days"
