"""A deliverer at work in a test."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from uuid import uuid4

from prometheus_client import CollectorRegistry

from services.kit.stores.postgres import create_pool
from services.kit.url_guard.addresses import AddressPolicy
from services.kit.url_guard.client import open_client
from services.mail.deliverer.deliverer import Deliverer, Timing
from services.mail.deliverer.feed_delivery import FeedDelivery
from services.mail.deliverer.feed_reader import FeedReader
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.deliverer.sender import Sender
from services.mail.deliverer.single_delivery import SingleDelivery
from services.mail.deliverer.slots import Slots
from services.mail.store.control import public_id_key
from services.mail.usage import UsageCounter
from services.mail.webhooks.endpoints import Webhooks
from services.mail.webhooks.health import EndpointHealth
from services.mail.webhooks.retries import RetryRules
from services.mail.webhooks.secrets import EndpointSecrets, webhook_cipher
from tests.support.mail.filled_feeds import FilledFeeds
from tests.support.mail.servers import Servers, connect

LOOPBACK = AddressPolicy([ip_network("127.0.0.0/8")])
# The shape of the published schedule, in hundredths of seconds.
QUICK = RetryRules(down=(0.02, 0.05, 0.1, 0.2), refused=(0.02, 0.04))
QUICK_TIMING = Timing(look=0.5, due=0.02, gather=0.005, drain=2.0)
_numbers = itertools.count(1)


def endpoint_secrets() -> EndpointSecrets:
    """Return the secrets of endpoints under a key that all parts of a test share."""
    return EndpointSecrets(webhook_cipher("a key of webhooks that only tests have", previous=None))


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class DelivererOptions:
    """How a deliverer runs; pauses are short."""

    rules: RetryRules = QUICK
    timing: Timing = QUICK_TIMING
    slots: int = 16
    slots_per_endpoint: int = 4
    seconds: float = 1.0
    lease_seconds: float = 2.0
    # A step that waits for a second connection while it holds one never goes on.
    connections: int = 1
    now: Callable[[], datetime] = _now


@dataclass
class RunningDeliverer:
    """A deliverer at work."""

    stop: asyncio.Event
    task: asyncio.Task[None]
    registry: CollectorRegistry
    usage: UsageCounter

    def count(self, metric: str, **labels: str) -> float:
        """Return the value of a metric, 0 where it has none yet."""
        return self.registry.get_sample_value(f"mailroom_webhook_{metric}", labels) or 0.0

    async def kill(self) -> None:
        """End it in the middle of its work."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@dataclass
class WebhookStage(FilledFeeds):
    """An application with webhooks and mailboxes whose feeds a test fills, and deliverers."""

    servers: Servers

    @asynccontextmanager
    async def deliverer(self, options: DelivererOptions | None = None) -> AsyncIterator[RunningDeliverer]:
        """Run a deliverer until the block ends."""
        async with delivering(self.servers, options or DelivererOptions()) as running:
            yield running

    async def shift(self, column: str, table: str, by: timedelta) -> None:
        """Make times of a table earlier, as if so much time had passed."""
        await self.pool.execute(f"UPDATE {table} SET {column} = {column} - $1::interval", by)  # noqa: S608 - constants


@asynccontextmanager
async def webhook_stage(servers: Servers) -> AsyncIterator[WebhookStage]:
    """Open a stage without mailboxes and endpoints."""
    await servers.empty()
    webhooks = Webhooks(servers.mail_pool, secrets=endpoint_secrets(), allow_http=True, most=20)
    yield WebhookStage(pool=servers.pool, webhooks=webhooks, servers=servers)


@asynccontextmanager
async def delivering(servers: Servers, options: DelivererOptions) -> AsyncIterator[RunningDeliverer]:
    """Run a deliverer on connections of its own until the block ends."""
    name = f"mail-deliverer-{next(_numbers)}"
    async with AsyncExitStack() as stack:
        pool = await create_pool(servers.deliverer_database, application_name=name, size=options.connections)
        stack.push_async_callback(pool.close)
        async with pool.acquire() as connection:
            ids = await public_id_key.load(connection)
        registry = CollectorRegistry()
        usage = UsageCounter()
        stack.push_async_callback(usage.close, pool)
        metrics = DelivererMetrics(registry)
        client = await stack.enter_async_context(open_client(LOOPBACK, connections=options.slots))
        sender = Sender(client, metrics=metrics, seconds=options.seconds, allow_http=True, now=options.now)
        secrets = endpoint_secrets()
        health = EndpointHealth(pool, rules=options.rules, disabled=metrics.disabled)
        slots = Slots(total=options.slots, per_endpoint=options.slots_per_endpoint)
        deliverer = Deliverer(
            pool,
            connect_listener=lambda: connect(servers.deliverer_database, name=name),
            feeds=FeedDelivery(
                pool,
                owner=uuid4(),
                reader=FeedReader(pool, ids=ids, secrets=secrets, lease_seconds=options.lease_seconds),
                sender=sender,
                health=health,
                metrics=metrics,
                usage=usage,
                slots=slots,
                lease_seconds=options.lease_seconds,
            ),
            singles=SingleDelivery(
                pool,
                sender=sender,
                ids=ids,
                secrets=secrets,
                health=health,
                metrics=metrics,
                usage=usage,
                rules=options.rules,
                lease_seconds=options.lease_seconds,
            ),
            metrics=metrics,
            slots=slots,
            timing=options.timing,
        )
        stop = asyncio.Event()
        running = RunningDeliverer(stop, asyncio.create_task(deliverer.run(stop)), registry, usage)
        try:
            yield running
        finally:
            stop.set()
            await asyncio.gather(running.task, return_exceptions=running.task.cancelled())
