"""The units of a calendar day: the parts of backfills, live mail and idle checks by the time of the day."""

from collections.abc import Callable
from typing import Final

from services.mail.providers.limits import DayBucket

_DAY: Final = 86_400
# Seconds by which idle checks may be ahead of their even part of the day.
_CHECKS_AHEAD: Final = 900


class DayBudget:
    """The budget of a day bucket at the time `now` (Unix time)."""

    def __init__(self, bucket: DayBucket, *, now: Callable[[], float]) -> None:
        self.bucket = bucket
        self._now = now

    def keys(self) -> tuple[str, str, str]:
        """Return the keys of the day's counts in Redis: all units, those of idle checks, and those that are assumed."""
        day, _ = self._day()
        key = f"mail:quota:{self.bucket.name}:{day:.0f}"
        return key, f"{key}:idle", f"{key}:assumed"

    def assumed(self) -> int:
        """Return the units to assume for a lost count: those of an evenly spent day."""
        _, elapsed = self._day()
        return int(self.bucket.limit * (1 - self.bucket.live_reserve) * elapsed / _DAY)

    def numbers(self, *, live: bool, idle: bool) -> tuple[float, ...]:
        """Return the day's arguments of quota_take.lua.

        Backfills leave to live mail its reserve, and to idle checks their part of the rest of the day.
        """
        _, elapsed = self._day()
        bucket = self.bucket
        kept = 0.0 if live else bucket.live_reserve + bucket.idle_share * (1 - elapsed / _DAY)
        per_second = bucket.limit * bucket.idle_share / _DAY
        allowed = per_second * min(_DAY, elapsed + _CHECKS_AHEAD)
        return (
            *(int(bucket.limit * (1 - kept)), self.assumed(), _DAY - elapsed),
            *(int(allowed) if idle else -1, int(per_second * elapsed), per_second),
        )

    def _day(self) -> tuple[float, float]:
        """Return the number of the day, and the seconds since its beginning."""
        return divmod(self._now() - self.bucket.begins, _DAY)
