"""Long outages, a first sync of many messages, and deliverers that end in the middle, under a receiver with faults."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest

from services.mail import events
from services.mail.model import FeedEvent, Mailbox
from services.mail.store import changes
from services.mail.store.control import public_id_key
from services.mail.webhooks.retries import RetryRules
from tests.soak.webhooks.receivers import Arrivals
from tests.soak.webhooks.verdict import Feed, compare
from tests.support.mail.running_deliverer import DelivererOptions, WebhookStage
from tests.support.mail.waiting import eventually
from tests.support.mail.webhook_receiver import Receiver

_STEP = timedelta(hours=6)


async def pass_time(hooks: WebhookStage) -> None:
    """Make all times of feeds and webhooks a step earlier, as if that much time had passed."""
    for table, columns in {
        "message_changes": ["changed_at"],
        "feed_heads": ["moved_at"],
        "webhook_endpoints": ["starts_at", "failing_since"],
        "webhook_cursors": ["due_at", "failing_since"],
        "webhook_deliveries": ["created_at", "ended_at", "due_at"],
    }.items():
        for column in columns:
            await hooks.shift(column, table, _STEP)


async def until_tried(hooks: WebhookStage) -> None:
    """Wait until nothing is due, or the endpoint is disabled."""

    async def is_tried() -> bool:
        return bool(
            await hooks.pool.fetchval(
                """
                SELECT EXISTS (SELECT FROM webhook_endpoints WHERE disabled_reason <> '') OR EXISTS (
                    SELECT FROM webhook_cursors WHERE due_at > now() AND lease_until IS NULL)
                """
            )
        )

    await eventually(is_tried)


async def feed_of(hooks: WebhookStage, mailbox: Mailbox) -> Feed:
    """Return what is to be delivered of a feed whose first change came before its endpoint."""
    rows = await hooks.pool.fetch(
        "SELECT seq FROM message_changes WHERE mailbox_id = $1 ORDER BY seq", mailbox.mailbox_id
    )
    return Feed(start=1, numbers=[row["seq"] for row in rows][1:])


async def differences(hooks: WebhookStage, arrivals: Arrivals, mailboxes: Sequence[Mailbox]) -> list[str]:
    """Compare what was taken with the feeds."""
    async with hooks.pool.acquire() as connection:
        ids = await public_id_key.load(connection)
    feeds = {str(mailbox.account_id): await feed_of(hooks, mailbox) for mailbox in mailboxes}
    return compare(arrivals.all, feeds, ids).failures


class TestWeekOfOutage:
    async def test_loses_nothing_and_keeps_the_published_schedule(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        arrivals = Arrivals(receiver, random.Random(1))
        mailbox = await hooks.mailbox()
        endpoint = await hooks.endpoint(receiver)
        receiver.answer = lambda _: 503
        async with hooks.deliverer(DelivererOptions(rules=RetryRules())):
            for _ in range(28):
                await hooks.change(mailbox)
                await until_tried(hooks)
                await pass_time(hooks)
            found = await hooks.webhooks.get(hooks.application_id, endpoint.endpoint_id)
            assert found.disabled_reason == "failing"
            # One event alone is tried, at once, after each of the first pauses, and then less often than every step.
            tried = Counter(each.event_id for each in receiver.received if each.mailbox)
            assert len(tried) == 1
            assert 5 <= tried.total() <= 16
            receiver.answer = arrivals.answer
            await hooks.webhooks.enable(hooks.application_id, endpoint.endpoint_id)
            await until_taken(arrivals, 28)
        assert await differences(hooks, arrivals, [mailbox]) == []


async def until_taken(arrivals: Arrivals, number: int, *, within: float = 60.0) -> None:
    """Wait until so many events were taken."""

    async def are_taken() -> bool:
        return len({each.event_id for each in arrivals.all if each.is_taken}) >= number

    await eventually(are_taken, within=within)


class TestFirstSync:
    @pytest.mark.parametrize("messages", [500, pytest.param(10_000, marks=pytest.mark.long)])
    async def test_of_many_messages_sends_its_end_alone(
        self, hooks: WebhookStage, receiver: Receiver, messages: int
    ) -> None:
        await hooks.endpoint(receiver)
        mailbox = await hooks.mailbox(is_live=False)
        async with hooks.deliverer():
            for _ in range(messages // 250):
                await hooks.change(mailbox, 250)
            async with hooks.pool.acquire() as connection:
                await changes.record_event(connection, mailbox.mailbox_id, FeedEvent.SYNC_COMPLETED, {"sync_id": 1})
                await changes.go_live(connection, mailbox.mailbox_id)
                await events.announce(connection, mailbox.mailbox_id)
            await receiver.until(1)
            # What came before it would come before this.
            await hooks.change(mailbox)
            await receiver.until(2)
        assert receiver.types() == ["sync.completed", "message.created"]
        assert receiver.broken_chains() == []


class TestKilledDeliverers:
    async def test_leave_chains_unbroken_under_a_receiver_with_faults(
        self, hooks: WebhookStage, receiver: Receiver
    ) -> None:
        """The short form of `make webhook-soak`."""
        arrivals = Arrivals(receiver, random.Random(3), is_faulty=True)
        receiver.answer = arrivals.answer
        mailboxes = [await hooks.mailbox() for _ in range(4)]
        await hooks.endpoint(receiver)
        for place in range(6):
            async with hooks.deliverer() as killed, hooks.deliverer():
                for mailbox in mailboxes:
                    await hooks.change(mailbox, 8)
                await until_taken(arrivals, 12 * (place + 1))
                await killed.kill()
        arrivals.is_faulty = False
        async with hooks.deliverer():
            await until_taken(arrivals, 6 * 4 * 8)
        assert await differences(hooks, arrivals, mailboxes) == []
        assert arrivals.faults
