"""The sandbox's own time, which tests move forward to meet expiries without waiting."""

import time
from collections.abc import Callable


class Clock:
    """System time plus whatever it has been advanced by. Epoch seconds."""

    def __init__(self, system_time: Callable[[], float] = time.time) -> None:
        self._system_time = system_time
        self._offset = 0.0

    def now(self) -> float:
        """Epoch seconds."""
        return self._system_time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move forward; ValueError for a step back, since issued tokens and history never go back either."""
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        self._offset += seconds
