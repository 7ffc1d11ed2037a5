"""What a worker tells about its looks at idle mailboxes."""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge


class Outcome(StrEnum):
    """How a look ended: nothing was new, something was, or the provider or auth gave no answer."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    FAILED = "failed"


class IdleMetrics:
    """Metrics of one worker's looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._looks = Counter(
            "mailroom_idle_checks", "Looks at idle mailboxes, by outcome.", ["outcome"], registry=registry
        )
        for outcome in Outcome:
            # Export 0 first, or rate() misses the first increment.
            self._looks.labels(outcome)
        self._late = Gauge(
            "mailroom_idle_checks_late_seconds",
            "By how much some group of idle mailboxes is checked later than it may be.",
            registry=registry,
        )

    def looked(self, outcome: Outcome) -> None:
        """Count a look."""
        self._looks.labels(outcome).inc()

    def late(self, seconds: float) -> None:
        """Set how late the latest group of the last minutes is; 0 where all are in time."""
        self._late.set(seconds)
