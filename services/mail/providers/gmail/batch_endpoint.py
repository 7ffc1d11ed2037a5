"""The address of the batch endpoint, and whether it currently works."""

import time
from collections.abc import Callable

import structlog

# Seconds without batches after an answer that is not in the batch format; doubled for each further one in a row.
FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0

log = structlog.get_logger()


class BatchEndpoint:
    """The batch endpoint. It is closed for a while after an answer that is not in the batch format."""

    def __init__(self, url: str | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._monotonic = monotonic
        self._pause = 0.0
        self._closed_until = float("-inf")

    @property
    def url(self) -> str | None:
        """The address; None if there is none, or while the endpoint is closed."""
        return None if self._monotonic() < self._closed_until else self._url

    def answered(self) -> None:
        """Record an answer in the batch format."""
        if self._pause:
            log.info("batches are answered again")
        self._pause = 0.0
        self._closed_until = float("-inf")

    def refused(self, reason: str) -> None:
        """Record an answer in another format. While closed, answers to earlier batches are ignored."""
        if self._monotonic() < self._closed_until:
            return
        if not self._pause:
            log.warning("batches are not answered, fetching one by one", reason=reason)
        self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
        self._closed_until = self._monotonic() + self._pause
