"""How long calls of Gmail may take."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds. The first three are for the head of an answer, a new connection included."""

    # Profile, labels, listings, history, watch and stop.
    small: float = 5.0
    # A message, a thread or an attachment.
    get: float = 10.0
    batch: float = 12.0
    # For a new connection, TLS included.
    connect: float = 5.0
    # Between two pieces of a body.
    between: float = 10.0
    # A whole call has this long, and longer the more of its answer has come, but never longer than `longest`.
    whole: float = 25.0
    bytes_per_second: float = 64 * 1024
    longest: float = 120.0
    # A connection is kept this long for another call.
    kept: float = 5.0

    def for_call(self, received: int) -> float:
        """Return how long a call may take after it has received so many bytes."""
        return min(self.longest, self.whole + received / self.bytes_per_second)


DEADLINES: Final = Deadlines()
