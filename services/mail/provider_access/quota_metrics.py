"""Metrics of quota in a process: waits for units, and whether the count can be reached."""

from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

# The values of `QuotaWaitError.scope`.
SCOPES: Final = ("mailbox", "project", "day", "service")

log = structlog.get_logger()


class QuotaMetrics:
    """Metrics of a process, and a log line whenever the count is lost or found again."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waits = Counter(
            "mailroom_quota_waits", "Takes of quota that have to wait, by what for.", ["scope"], registry=registry
        )
        for scope in SCOPES:
            # Export 0 first, or rate() misses the first increment.
            self._waits.labels(scope)
        self._reachable = Gauge(
            "mailroom_quota_reachable", "1 while the count of quota in Redis can be reached, else 0.", registry=registry
        )
        self._reachable.set(1)
        self._was_reachable = True

    def waited(self, scope: str) -> None:
        """Count a take that has to wait."""
        self._waits.labels(scope).inc()

    def reached(self) -> None:
        """Record that Redis answered."""
        if not self._was_reachable:
            log.info("quota can be counted again")
            self._set_reachable(reachable=True)

    def lost(self, error: Exception) -> None:
        """Record that Redis did not answer."""
        if self._was_reachable:
            log.error("quota cannot be counted, no calls are made: Redis is unreachable", error=type(error).__name__)
            self._set_reachable(reachable=False)

    def _set_reachable(self, *, reachable: bool) -> None:
        self._was_reachable = reachable
        self._reachable.set(int(reachable))
