"""A clock for tests."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass
class Time:
    """A clock that tests move."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
