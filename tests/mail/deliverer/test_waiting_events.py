"""Events that wait while their webhook is changed or replayed: none is lost."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from services.mail.deliverer.feed_reader import FeedReader
from services.mail.store.webhooks import cursors, endpoints
from services.mail.webhooks.endpoints import RuleChanges
from services.mail.webhooks.model import Endpoint
from tests.mail.deliverer.test_deliverer import delivered_numbers, feed_numbers, public_ids, until_caught_up
from tests.support.mail.running_deliverer import DelivererOptions, WebhookStage, endpoint_secrets
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import HANG, Receiver


async def set_enabled(hooks: WebhookStage, endpoint: Endpoint, *, is_enabled: bool) -> None:
    """Disable or enable an endpoint."""
    await hooks.webhooks.change(hooks.application_id, endpoint.endpoint_id, RuleChanges(is_enabled=is_enabled))


# Those by which a webhook begins.
MOMENTS = {"changed_at": "message_changes", "moved_at": "feed_heads", "starts_at": "webhook_endpoints"}


async def pass_hours(hooks: WebhookStage, hours: int) -> None:
    """Make what has happened so many hours earlier."""
    for column, table in MOMENTS.items():
        await hooks.shift(column, table, timedelta(hours=hours))


class TestReplayFromATime:
    async def test_sends_first_what_waits_from_before(self, hooks: WebhookStage, receiver: Receiver) -> None:
        known, new = await hooks.mailbox(), await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer():
            await hooks.change(known)
            await receiver.until(1)
            await until_caught_up(hooks, known)
        await set_enabled(hooks, endpoint, is_enabled=False)
        await hooks.change(known, 3)
        await hooks.change(new, 3)
        await pass_hours(hooks, 5)
        await hooks.change(known)
        await hooks.webhooks.replay(
            hooks.application_id, endpoint.endpoint_id, since=datetime.now(UTC) - timedelta(hours=1)
        )
        await set_enabled(hooks, endpoint, is_enabled=True)
        async with hooks.deliverer():
            await receiver.until(8)
        assert await delivered_numbers(hooks, endpoint) != []
        assert len(receiver.of(str(known.account_id))) == len(await feed_numbers(hooks, known, after=1))
        assert len(receiver.of(str(new.account_id))) == 3
        assert receiver.broken_chains() == []

    async def test_tells_that_changes_are_lost(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        async with hooks.deliverer():
            await hooks.change(mailbox)
            await receiver.until(1)
            await until_caught_up(hooks, mailbox)
        await hooks.pool.execute("UPDATE webhook_cursors SET resync_due = true")
        await hooks.webhooks.replay(hooks.application_id, endpoint.endpoint_id, since=datetime.now(UTC))
        async with hooks.deliverer():
            await receiver.until(2)
        assert receiver.types() == ["message.created", "mailbox.resync_required"]


class TestReplayDuringADelivery:
    async def test_sends_all_again_in_one_chain(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = lambda event: HANG if event.mailbox else 200
        await hooks.change(mailbox, 3)
        async with hooks.deliverer(DelivererOptions(seconds=2.0)):

            async def hangs() -> bool:
                return receiver.waiting == 1

            await eventually(hangs)
            receiver.answer = lambda _: 200
            await hooks.webhooks.replay(hooks.application_id, endpoint.endpoint_id, since=endpoint.created_at)
            await receiver.until(3)
            await until_caught_up(hooks, mailbox)
        assert receiver.broken_chains() == []
        assert await delivered_numbers(hooks, endpoint) == await feed_numbers(hooks, mailbox, after=1)


class TestChangesThatExpireDuringARun:
    async def test_end_it_and_are_told(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        await hooks.change(mailbox, 60)
        reader = FeedReader(hooks.pool, ids=await public_ids(hooks), secrets=endpoint_secrets(), lease_seconds=60)
        async with hooks.pool.acquire() as connection:
            lease = await cursors.claim(
                connection, endpoint.endpoint_id, mailbox.mailbox_id, owner=uuid4(), lease_seconds=60
            )
            assert lease is not None
            run = await reader.open(lease, is_stopping=lambda: False)
            assert run is not None
            pages = []
            async for page in reader.pages(run):
                pages.append(len(page))
                await hooks.shift("changed_at", "message_changes", timedelta(days=31))
            assert pages == [40]
            await cursors.release(connection, lease, seq=run.seq)
        await hooks.change(mailbox)
        async with hooks.deliverer():
            await receiver.until(1)
        assert receiver.types() == ["mailbox.resync_required"]


class TestChangedFilter:
    async def test_keeps_the_first_event_of_a_mailbox_that_stays(self, hooks: WebhookStage, receiver: Receiver) -> None:
        stays, goes, comes = [await hooks.mailbox() for _ in range(3)]
        endpoint = await hooks.endpoint(receiver, account_ids=[stays.account_id, goes.account_id])
        # Before any deliverer has looked.
        for mailbox in (stays, goes, comes):
            await hooks.change(mailbox, 2)
        changed = RuleChanges(account_ids=[stays.account_id, comes.account_id])
        await hooks.webhooks.change(hooks.application_id, endpoint.endpoint_id, changed)
        async with hooks.deliverer():
            await receiver.until(2)
            await hooks.change(comes)
            await receiver.until(3)
        assert [len(receiver.of(str(each.account_id))) for each in (stays, goes, comes)] == [2, 0, 1]
        assert receiver.broken_chains() == []

    async def test_of_types_keeps_what_waits(self, hooks: WebhookStage, receiver: Receiver) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        await hooks.change(mailbox, 2)
        changed = RuleChanges(event_types=["message.created"])
        await hooks.webhooks.change(hooks.application_id, endpoint.endpoint_id, changed)
        async with hooks.deliverer():
            await receiver.until(2)


class TestClockThatIsSetBack:
    @pytest.mark.parametrize("by", [timedelta(minutes=5), timedelta(hours=3)])
    async def test_loses_no_change_to_a_new_webhook(
        self, hooks: WebhookStage, receiver: Receiver, by: timedelta
    ) -> None:
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        for column, table in MOMENTS.items():
            await hooks.shift(column, table, -by)
        async with hooks.pool.acquire() as connection:
            await endpoints.follow_clock(connection)
        await hooks.change(mailbox, 3)
        async with hooks.deliverer():
            await receiver.until(3)
            await until_caught_up(hooks, mailbox)
        assert await delivered_numbers(hooks, endpoint) == await feed_numbers(hooks, mailbox, after=1)
