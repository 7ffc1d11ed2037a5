"""Metrics of a deliverer, and those over all endpoints, which every deliverer reads."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.mail.store.connection import Pool
from services.mail.store.webhooks import cursors, endpoints
from services.mail.webhooks.model import DisabledReason

_ATTEMPT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
_DELAY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0, 86_400.0)
DELIVERED, FAILED, PARKED, LOST = "delivered", "failed", "parked", "lease_lost"


class DelivererMetrics:
    """The metrics of a deliverer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "mailroom_webhook_events", "Events of webhooks that were tried, by outcome.", ["outcome"], registry=registry
        )
        self._disabled = Counter(
            "mailroom_webhook_endpoints_disabled", "Endpoints that were disabled, by reason.", ["reason"],
            registry=registry,
        )  # fmt: skip
        for outcome in (DELIVERED, FAILED, PARKED, LOST):
            # Export 0 first, or rate() misses the first increment.
            self._events.labels(outcome)
        for reason in (DisabledReason.FAILING, DisabledReason.GONE):
            self._disabled.labels(reason.value)
        self._attempts = Histogram(
            "mailroom_webhook_attempt_seconds",
            "Tries to deliver an event until its answer was read, by class of HTTP status; none: no whole answer came.",
            ["status"],
            registry=registry,
            buckets=_ATTEMPT_BUCKETS,
        )
        self._delay = Histogram(
            "mailroom_webhook_delay_seconds",
            "From a change to its delivery.",
            registry=registry,
            buckets=_DELAY_BUCKETS,
        )
        self.listening = Gauge(
            "mailroom_webhook_listening", "1 while the deliverer hears of changes at once, else 0.", registry=registry
        )
        self._endpoints = Gauge("mailroom_webhook_endpoints", "Endpoints, by state.", ["state"], registry=registry)
        self._waiting = Gauge(
            "mailroom_webhook_feeds_failing", "Feeds whose next event failed and waits for another try.",
            registry=registry,
        )  # fmt: skip
        self._oldest = Gauge(
            "mailroom_webhook_oldest_failure_seconds", "How long the longest failing event has failed.",
            registry=registry,
        )  # fmt: skip

    def attempted(self, seconds: float, *, status: int | None) -> None:
        """Count a try."""
        self._attempts.labels("none" if status is None else f"{status // 100}xx").observe(seconds)

    def ended(self, outcome: str, *, delay: float | None = None) -> None:
        """Count what came of a try; `delay` is the age of a delivered change in seconds."""
        self._events.labels(outcome).inc()
        if delay is not None:
            self._delay.observe(max(0.0, delay))

    def disabled(self, reason: DisabledReason) -> None:
        """Count an endpoint that was disabled."""
        self._disabled.labels(reason.value).inc()

    async def read(self, pool: Pool) -> None:
        """Read the gauges over all endpoints."""
        async with pool.acquire() as connection:
            counts = await endpoints.counts(connection)
            waiting, oldest = await cursors.failing(connection)
        for state in ("ok", "failing", "disabled"):
            self._endpoints.labels(state).set(counts.get(state, 0))
        self._waiting.set(waiting)
        self._oldest.set(oldest)
