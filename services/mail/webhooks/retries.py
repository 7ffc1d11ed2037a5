"""What an answer means, and when an event is tried again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus

from services.mail.webhooks.model import Attempt

_MINUTE, _HOUR = 60.0, 3600.0
# The part of a pause by which pauses vary, so that what failed together is not tried together.
JITTER = 0.1


class Verdict(Enum):
    """What came of a try."""

    DELIVERED = "delivered"
    # Nothing gets through, as far as this answer tells; the mailbox waits.
    DOWN = "down"
    # The receiver does not want this event.
    REFUSED = "refused"
    # The receiver wants nothing more (410).
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """Pauses in seconds before the second try and later ones, and when to give up. Source: Standard Webhooks 1.0.0."""

    down: Sequence[float] = (
        *(5.0, 5 * _MINUTE, 30 * _MINUTE),
        *(2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR),
    )
    # A refused event is parked after one try more: within five minutes.
    refused: Sequence[float] = (30.0, 150.0)
    # So many events that were refused in a row, without one that was delivered, mean that the endpoint is down.
    refused_in_row: int = 3
    # An event that meets 5xx for so long, while others are delivered, is parked.
    broken_for: timedelta = timedelta(hours=2)
    # An endpoint that takes nothing for so long is disabled.
    disable_after: timedelta = timedelta(days=5)
    # The longest Retry-After that is honoured.
    longest: float = 24 * _HOUR

    def pauses(self, verdict: Verdict) -> Sequence[float]:
        """Return the pauses after tries with this verdict."""
        return self.refused if verdict is Verdict.REFUSED else self.down

    def pause(self, verdict: Verdict, *, tries: int, asked: float | None, draw: Callable[[], float]) -> float:
        """Return the seconds before the next try of an event that has had so many; `asked` by the receiver at least.

        `draw` gives random numbers from 0 to 1.
        """
        pauses = self.pauses(verdict)
        pause = pauses[min(tries, len(pauses)) - 1] * (1 + JITTER * (2 * draw() - 1))
        return max(pause, min(asked or 0.0, self.longest))


def verdict_of(attempt: Attempt) -> Verdict:
    """Return what an attempt means. A redirect is not followed: the endpoint is down at its URL."""
    status = attempt.status
    if status is None or status < HTTPStatus.OK:
        return Verdict.DOWN
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict.DELIVERED
    if status == HTTPStatus.GONE:
        return Verdict.GONE
    if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS):
        return Verdict.DOWN
    is_of_client = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Verdict.REFUSED if is_of_client else Verdict.DOWN


def seconds_asked(retry_after: str | None, *, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110 section 10.2.3); None without a valid one."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
