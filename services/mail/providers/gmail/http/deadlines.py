"""How long calls of Gmail may take."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds. The first three are the time until the head of an answer is there, a new connection included."""

    # Profile, labels, listings, history, watch and stop.
    small: float = 5.0
    # A message, a thread or an attachment.
    get: float = 10.0
    batch: float = 12.0
    # Between two pieces of a body.
    between: float = 10.0
    # For a whole call: so long, and a second more for each so many bytes that have come, but never more than `longest`.
    whole: float = 25.0
    bytes_per_second: float = 64 * 1024
    longest: float = 120.0
    # How long a connection is kept for the next call.
    kept: float = 5.0

    def for_call(self, received: int) -> float:
        """How long a call may take of whose answer so many bytes have come."""
        return min(self.longest, self.whole + received / self.bytes_per_second)


DEADLINES: Final = Deadlines()
