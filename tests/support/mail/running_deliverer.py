"""A deliverer at work in a test, and feeds that a test fills itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from services.kit.stores.postgres import create_pool
from services.kit.url_guard.addresses import AddressPolicy
from services.kit.url_guard.client import open_client
from services.mail import events
from services.mail.deliverer.deliverer import Deliverer, Timing
from services.mail.deliverer.feed_delivery import FeedDelivery
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.deliverer.sender import Sender
from services.mail.deliverer.single_delivery import SingleDelivery
from services.mail.model import DEFAULT_APPLICATION, Mailbox
from services.mail.store import changes
from services.mail.store.control import public_id_key
from services.mail.usage import UsageCounter
from services.mail.webhooks.endpoints import Webhooks
from services.mail.webhooks.health import EndpointHealth
from services.mail.webhooks.model import Endpoint, EndpointRules
from services.mail.webhooks.retries import RetryRules
from services.mail.webhooks.secrets import EndpointSecrets, webhook_cipher
from tests.support.mail.servers import Servers, connect
from tests.support.mail.stored import add_mailbox, store
from tests.support.mail.webhook_receiver import Receiver

LOOPBACK = AddressPolicy([ip_network("127.0.0.0/8")])
# The shape of the published schedule, in hundredths of seconds.
QUICK = RetryRules(down=(0.02, 0.05, 0.1, 0.2), refused=(0.02, 0.04))
QUICK_TIMING = Timing(look=0.5, due=0.02, gather=0.005, drain=2.0)
_numbers = itertools.count(1)


def endpoint_secrets() -> EndpointSecrets:
    """Return the secrets of endpoints under a key that all parts of a test share."""
    return EndpointSecrets(webhook_cipher("a key of webhooks that only tests have", previous=None))


@dataclass(frozen=True, slots=True, kw_only=True)
class DelivererOptions:
    """How a deliverer runs; pauses are short."""

    rules: RetryRules = QUICK
    timing: Timing = QUICK_TIMING
    slots: int = 16
    slots_per_endpoint: int = 4
    seconds: float = 1.0
    lease_seconds: float = 2.0


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


@dataclass
class WebhookStage:
    """An application with webhooks and mailboxes whose feeds a test fills."""

    servers: Servers
    webhooks: Webhooks
    application_id: UUID = DEFAULT_APPLICATION
    _messages: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def mailbox(self, *, is_live: bool = True) -> Mailbox:
        """Add a mailbox; its first sync has ended if it `is_live`."""
        async with self.servers.pool.acquire() as connection:
            mailbox = await add_mailbox(connection, email=f"ada{uuid4().hex}@example.com")
            await store(connection, mailbox.mailbox_id, "first")
            if is_live:
                await changes.go_live(connection, mailbox.mailbox_id)
            await events.announce(connection, mailbox.mailbox_id)
        return mailbox

    async def change(self, mailbox: Mailbox, number: int = 1) -> None:
        """Store so many new messages, each a change, and announce them as a turn does."""
        async with self.servers.pool.acquire() as connection:
            ids = [f"m{next(self._messages)}" for _ in range(number)]
            await store(connection, mailbox.mailbox_id, *ids)
            await events.announce(connection, mailbox.mailbox_id)

    async def endpoint(
        self,
        receiver: Receiver,
        *,
        event_types: Sequence[str] = (),
        account_ids: Sequence[UUID] | None = None,
        backfill: bool = False,
    ) -> Endpoint:
        """Make an endpoint of the receiver, which verifies what it gets."""
        rules = EndpointRules(url=receiver.url, event_types=event_types, account_ids=account_ids, backfill=backfill)
        endpoint, secret = await self.webhooks.create(self.application_id, rules)
        receiver.secrets = [secret]
        return endpoint

    @asynccontextmanager
    async def deliverer(self, options: DelivererOptions | None = None) -> AsyncIterator[RunningDeliverer]:
        """Run a deliverer until the block ends."""
        async with delivering(self.servers, options or DelivererOptions()) as running:
            yield running

    async def shift(self, column: str, table: str, by: timedelta) -> None:
        """Make times of a table earlier, as if so much time had passed."""
        await self.servers.pool.execute(f"UPDATE {table} SET {column} = {column} - $1::interval", by)  # noqa: S608 - constants


@asynccontextmanager
async def webhook_stage(servers: Servers) -> AsyncIterator[WebhookStage]:
    """Open a stage without mailboxes and endpoints."""
    await servers.empty()
    yield WebhookStage(servers, Webhooks(servers.mail_pool, secrets=endpoint_secrets(), allow_http=True, most=20))


@asynccontextmanager
async def delivering(servers: Servers, options: DelivererOptions) -> AsyncIterator[RunningDeliverer]:
    """Run a deliverer on connections of its own until the block ends."""
    name = f"mail-deliverer-{next(_numbers)}"
    async with AsyncExitStack() as stack:
        pool = await create_pool(servers.deliverer_database, application_name=name, size=8)
        stack.push_async_callback(pool.close)
        async with pool.acquire() as connection:
            ids = await public_id_key.load(connection)
        registry = CollectorRegistry()
        usage = UsageCounter()
        stack.push_async_callback(usage.close, pool)
        metrics = DelivererMetrics(registry)
        client = await stack.enter_async_context(open_client(LOOPBACK, connections=options.slots))
        sender = Sender(client, metrics=metrics, seconds=options.seconds, allow_http=True)
        secrets = endpoint_secrets()
        deliverer = Deliverer(
            pool,
            connect_listener=lambda: connect(servers.deliverer_database, name=name),
            feeds=FeedDelivery(
                pool,
                owner=uuid4(),
                sender=sender,
                ids=ids,
                secrets=secrets,
                health=EndpointHealth(pool, rules=options.rules, disabled=metrics.disabled),
                metrics=metrics,
                usage=usage,
                rules=options.rules,
                lease_seconds=options.lease_seconds,
            ),
            singles=SingleDelivery(
                pool,
                sender=sender,
                ids=ids,
                secrets=secrets,
                metrics=metrics,
                usage=usage,
                rules=options.rules,
                lease_seconds=options.lease_seconds,
            ),
            metrics=metrics,
            slots=options.slots,
            slots_per_endpoint=options.slots_per_endpoint,
            timing=options.timing,
        )
        stop = asyncio.Event()
        running = RunningDeliverer(stop, asyncio.create_task(deliverer.run(stop)), registry, usage)
        try:
            yield running
        finally:
            stop.set()
            await running.task
