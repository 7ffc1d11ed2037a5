"""The sandbox's clock. Tests advance it to reach expiries without waiting."""

import time
from collections.abc import Callable


class Clock:
    """System time plus the sum of all advances, in epoch seconds."""

    def __init__(self, system_time: Callable[[], float] = time.time) -> None:
        self._system_time = system_time
        self._offset = 0.0

    def now(self) -> float:
        """Return epoch seconds."""
        return self._system_time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move forward. Raises ValueError for a negative step: issued tokens and history never go back either."""
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        self._offset += seconds
