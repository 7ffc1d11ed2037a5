"""Time limits of calls."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Time limits in seconds. The first three are for the head of an answer, including a new connection."""

    # Profile, labels, listings, history, watch and stop.
    small: float = 5.0
    # A message, a thread or an attachment.
    get: float = 10.0
    batch: float = 12.0
    # A new connection, TLS included.
    connect: float = 5.0
    # Between two chunks of a body.
    between: float = 10.0
    # A whole call: longer for a longer answer, but at most `longest`.
    whole: float = 25.0
    bytes_per_second: float = 64 * 1024
    longest: float = 120.0
    # Kept connections without calls.
    kept: float = 5.0

    def for_call(self, received: int) -> float:
        """Return the time limit of a call that has received this many bytes."""
        return min(self.longest, self.whole + received / self.bytes_per_second)


DEADLINES: Final = Deadlines()
