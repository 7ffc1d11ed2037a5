"""Gauges from the database and the counts of quota, read on a scrape, at most every few seconds."""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from services.mail.model import Lane, SyncState
from services.mail.provider_access.quota import Quota, QuotaUse
from services.mail.store import metrics as store
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.metrics import MetricValues
from services.mail.sync.watches import WARNING_SECONDS

# Reading takes 0.09 s with 100,000 mailboxes and a million queued messages.
_CACHE_SECONDS = 10.0
# Scrapers give up after ten.
_READ_SECONDS = 5.0

log = structlog.get_logger()


class MailboxMetrics(Collector):
    """Gauges over all mailboxes. The mail service exports them, its workers do not, or they would be counted twice."""

    def __init__(self, registry: CollectorRegistry, *, pool: Pool, quotas: Collection[Quota]) -> None:
        self._pool = pool
        self._quotas = quotas
        self._lock = asyncio.Lock()
        self._next_read = 0.0
        self._of_database: list[GaugeMetricFamily] = []
        self._of_quota: list[GaugeMetricFamily] = []
        registry.register(self)

    def collect(self) -> list[GaugeMetricFamily]:
        """Return the gauges of the last read (the contract of prometheus_client)."""
        return [*self._of_database, *self._of_quota]

    async def refresh(self) -> None:
        """Read the gauges if they are older than some seconds.

        After a failure those of the database or those of Redis stay as they were, with their time.
        """
        async with self._lock:
            if time.monotonic() < self._next_read:
                return
            self._next_read = time.monotonic() + _CACHE_SECONDS
            await asyncio.gather(self._read_database(), self._read_quota())

    async def _read_database(self) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS), self._pool.acquire() as connection:
                values = await store.read(connection, expiring_seconds=WARNING_SECONDS)
        except DATABASE_LOST as error:
            log.warning("metrics not read", store="postgres", error=type(error).__name__)
        else:
            self._of_database = [*_of_database(values), _gauge(*_READ_AT, time.time())]

    async def _read_quota(self) -> None:
        try:
            async with asyncio.timeout(_READ_SECONDS):
                uses = [await quota.use() for quota in self._quotas]
        except (TimeoutError, RedisError) as error:
            log.warning("metrics not read", store="redis", error=type(error).__name__)
        else:
            self._of_quota = [*_of_quota(max(uses, key=_used_part)), _gauge(*_QUOTA_READ_AT, time.time())]


# Published label values: dashboards and rules of deployments use them.
_LANE_LABELS = {Lane.LIVE: "live", Lane.BACKFILL: "backfill", Lane.IDLE: "rest"}
_ACTIVE_STATES = (SyncState.QUEUED.value, SyncState.RUNNING.value)
_READ_AT = ("mailroom_figures_read_timestamp_seconds", "When the figures over all mailboxes were read.")
_QUOTA_READ_AT = ("mailroom_quota_figures_read_timestamp_seconds", "When the figures of the project's quota were read.")


def _of_database(values: MetricValues) -> Iterator[GaugeMetricFamily]:
    yield _gauges("mailroom_mailboxes", "Mailboxes.", "status", values.mailboxes_by_status)
    yield _by_lane("mailroom_mailboxes_due", "Mailboxes that wait for a worker.", values.due_by_lane)
    yield _by_lane("mailroom_oldest_due_seconds", "How long the first of them has waited.", values.oldest_due_by_lane)
    yield _by_lane(
        "mailroom_oldest_hint_seconds", "How long the first hint has waited to be read.", values.oldest_hint_by_lane
    )
    yield _by_lane("mailroom_queued_messages", "Messages that are known and not fetched.", values.queued_by_lane)
    yield _gauges("mailroom_dead_letters", "Messages that were given up.", "reason", values.dead_letters_by_reason)
    none = dict.fromkeys(_ACTIVE_STATES, 0)
    yield _gauges("mailroom_active_syncs", "Syncs that have not ended.", "state", none | dict(values.syncs_by_state))
    yield _gauge(
        "mailroom_oldest_check_seconds",
        "How long ago the changes of the active mailbox that was looked at least recently were read.",
        values.oldest_check,
    )
    yield _gauge(
        "mailroom_watches_expiring",
        "Watches that end within two days, or have ended, and ought not to.",
        values.expiring_watches,
    )
    if values.next_watch_expiry is not None:
        yield _gauge("mailroom_next_watch_expiry_seconds", "Until the next watch ends.", values.next_watch_expiry)


def _used_part(use: QuotaUse) -> float:
    """Return which part of the day's units is used: the gauges show the provider with most."""
    return use.day_used / use.day_limit if use.day_limit else 0.0


def _of_quota(use: QuotaUse) -> Iterator[GaugeMetricFamily]:
    yield _gauge("mailroom_quota_day_units_used", "The provider's units that this day has cost.", use.day_used)
    yield _gauge("mailroom_quota_day_units_limit", "The provider's units that a day may cost.", use.day_limit)
    yield _gauge("mailroom_quota_units_per_second_limit", "Units that a second may cost.", use.rate_limit)
    yield _gauge(
        "mailroom_quota_paused_seconds", "For how long the provider wants no calls of the whole project.", use.paused
    )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _by_lane(name: str, text: str, values: Mapping[Lane, float]) -> GaugeMetricFamily:
    # An empty queue is exported as 0: a missing series would look like a failed scrape.
    return _gauges(name, text, "lane", {label: values.get(lane, 0) for lane, label in _LANE_LABELS.items()})
