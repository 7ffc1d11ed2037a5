"""News of a feed that moves while a deliverer works on it."""

import asyncio
from collections.abc import Callable
from itertools import accumulate
from typing import override
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry

from services.kit.stores.postgres import create_pool
from services.mail.deliverer.deliverer import DEFAULT_TIMING, Deliverer, Timing
from services.mail.deliverer.feed_delivery import FeedDelivery
from services.mail.deliverer.feed_run import RunOutcome
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.deliverer.single_delivery import SingleDelivery
from services.mail.deliverer.slots import Slots
from services.mail.store.connection import Pool
from services.mail.store.webhooks import cursors
from tests.support.mail.running_deliverer import WebhookStage
from tests.support.mail.servers import connect
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import Receiver

# The cursors are looked at once, at the start.
ONLY_NEWS = Timing(look=3600.0, due=3600.0)


class HeldFeeds(FeedDelivery):
    """Runs that hold their cursor until they are let go, and give it back without a look at the feed."""

    def __init__(self, pool: Pool) -> None:
        self.runs = 0
        self.let_go = asyncio.Event()
        self._pool = pool

    @override
    async def run(self, endpoint_id: UUID, mailbox_id: int, *, is_stopping: Callable[[], bool]) -> RunOutcome:
        async with self._pool.acquire() as connection:
            lease = await cursors.claim(connection, endpoint_id, mailbox_id, owner=uuid4(), lease_seconds=600)
        if lease is None:
            return RunOutcome()
        self.runs += 1
        await self.let_go.wait()
        async with self._pool.acquire() as connection:
            await cursors.release(connection, lease, seq=0)
        return RunOutcome()


class NoSingles(SingleDelivery):
    """Delivers nothing."""

    def __init__(self) -> None: ...

    @override
    async def run(self, endpoint_id: UUID, delivery_id: int) -> RunOutcome:
        return RunOutcome()


class TestNews:
    async def test_that_comes_during_a_run_is_looked_up_after_it(self, hooks: WebhookStage, receiver: Receiver) -> None:
        one, other = await hooks.mailbox(), await hooks.mailbox()
        await hooks.endpoint(receiver)
        pool = await create_pool(hooks.servers.deliverer_database, application_name="news", size=4)
        feeds, registry, stop = HeldFeeds(pool), CollectorRegistry(), asyncio.Event()
        deliverer = Deliverer(
            pool,
            connect_listener=lambda: connect(hooks.servers.deliverer_database, name="news"),
            feeds=feeds,
            singles=NoSingles(),
            metrics=DelivererMetrics(registry),
            slots=Slots(total=8, per_endpoint=4),
            timing=ONLY_NEWS,
        )

        async def listens() -> bool:
            return registry.get_sample_value("mailroom_webhook_listening") == 1

        async def have_run(number: int) -> None:
            async def has_run() -> bool:
                return feeds.runs == number

            await eventually(has_run)

        running = asyncio.create_task(deliverer.run(stop))
        await eventually(listens)
        await hooks.change(one)
        await have_run(1)
        await hooks.change(one)
        # News come in order: once the other mailbox has its run, that of the first was heard.
        await hooks.change(other)
        await have_run(2)
        feeds.let_go.set()
        await have_run(3)
        stop.set()
        await running
        await pool.close()


class TestLooks:
    def test_are_rare_while_they_find_nothing(self) -> None:
        pauses = accumulate(range(3), lambda pause, _: DEFAULT_TIMING.next_pause(pause, found=False), initial=10.0)
        assert list(pauses) == [10, 20, 30, 30]
        assert DEFAULT_TIMING.next_pause(30, found=True) == 10
