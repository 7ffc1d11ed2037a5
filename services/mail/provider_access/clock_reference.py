"""The time of Redis's clock as this process expects it, by which the quota scripts notice that the clock was set."""

from collections.abc import Callable

import structlog

log = structlog.get_logger()


class ClockReference:
    """The last time that Redis told, and the monotonic time at which it was asked: nothing sets that clock.

    The time told is at least that of the question, so what is expected later is at most as early as a question under
    way takes.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._told_at: float | None = None
        self._asked_at = 0.0

    def begin(self) -> float:
        """Return the time at which a question is asked, for `learn`."""
        return self._monotonic()

    def expected(self) -> float | None:
        """Return the time that Redis should tell now; None before its first answer."""
        return None if self._told_at is None else self._told_at + self._monotonic() - self._asked_at

    def learn(self, told_at: float, *, asked_at: float, ahead: float) -> None:
        """Take over the time of an answer; the clock was `ahead` of what was expected by so many seconds."""
        if ahead > 0:
            log.warning(
                "the clock of Redis has jumped ahead, the quota goes by the time before", seconds=round(ahead, 1)
            )
        if asked_at >= self._asked_at:
            self._told_at, self._asked_at = told_at, asked_at
