"""Cursors of webhooks: when failed events are due, and by whom they are moved."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.mail.model import Mailbox
from services.mail.store.webhooks import cursors, outcomes
from services.mail.store.webhooks.outcomes import Passed
from services.mail.webhooks.model import Attempt, CursorLease, DeliveryState, Event, EventType
from tests.mail.deliverer.test_deliverer import disconnect
from tests.support.mail.running_deliverer import WebhookStage, webhook_stage
from tests.support.mail.servers import Servers
from tests.support.mail.webhook_receiver import Receiver

_HOUR = timedelta(hours=1)


async def add_failed(
    hooks: WebhookStage, endpoint_id: UUID, *, failing: timedelta, due_in: timedelta, refused: bool = False
) -> int:
    """Add a cursor whose event has failed for so long."""
    mailbox = await hooks.mailbox()
    await hooks.pool.execute(
        """
        INSERT INTO webhook_cursors (endpoint_id, mailbox_id, seq, tries, failing_since, due_at, is_refused)
        VALUES ($1, $2, 0, 3, now() - $3::interval, now() + $4::interval, $5)
        """,
        endpoint_id,
        mailbox.mailbox_id,
        failing,
        due_in,
        refused,
    )
    return mailbox.mailbox_id


class TestWake:
    async def test_brings_forward_what_failed_in_the_outage_and_no_refused_event(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint = await hooks.endpoint(Receiver(port=8999))
            named = endpoint.endpoint_id
            within = await add_failed(hooks, named, failing=_HOUR, due_in=5 * _HOUR)
            before = await add_failed(hooks, named, failing=3 * _HOUR, due_in=5 * _HOUR)
            sooner = await add_failed(hooks, named, failing=3 * _HOUR, due_in=2 * _HOUR)
            refused = await add_failed(hooks, named, failing=_HOUR, due_in=5 * _HOUR, refused=True)
            async with hooks.pool.acquire() as connection:
                since = await connection.fetchval("SELECT now() - interval '2 hours'")
                await cursors.wake(connection, named, down_since=since)
            due = {
                row["mailbox_id"]: row["hours"]
                for row in await hooks.pool.fetch(
                    "SELECT mailbox_id, extract(epoch FROM due_at - now())::float8 / 3600 AS hours FROM webhook_cursors"
                )
            }
            assert due == pytest.approx({within: 0, before: 3, sooner: 2, refused: 5}, abs=0.1)


def first_event(mailbox: Mailbox) -> Event:
    """Return the event of the first change of a mailbox."""
    return Event(
        event_id="msg_1",
        event_type=EventType.MESSAGE_CREATED,
        timestamp=datetime.now(UTC),
        data={},
        mailbox_id=mailbox.mailbox_id,
        account_id=mailbox.account_id,
        seq=1,
        incarnation=1,
    )


class TestLease:
    async def test_ends_when_its_mailbox_is_disconnected(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, mailbox = await hooks.endpoint(Receiver(port=8999)), await hooks.mailbox()
            async with hooks.pool.acquire() as connection:
                lease = await cursors.claim(
                    connection, endpoint.endpoint_id, mailbox.mailbox_id, owner=uuid4(), lease_seconds=60
                )
                assert lease is not None
                await disconnect(hooks, mailbox)
                # The deliverer has read more of the feed before.
                passed = await outcomes.record_passed(
                    connection,
                    lease,
                    first_event(mailbox),
                    Attempt(at=datetime.now(UTC), milliseconds=1, status=200),
                    state=DeliveryState.DELIVERED,
                    until=9,
                    lease_seconds=60,
                )
                assert passed is Passed.FREE
                assert await connection.fetchval("SELECT lease_until FROM webhook_cursors") is None

    async def test_that_another_took_over_moves_no_cursor(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, mailbox = await hooks.endpoint(Receiver(port=8999)), await hooks.mailbox()
            event, attempt = first_event(mailbox), Attempt(at=datetime.now(UTC), milliseconds=1, status=200)
            key = endpoint.endpoint_id, mailbox.mailbox_id
            async with hooks.pool.acquire() as connection:
                late = await cursors.claim(connection, *key, owner=uuid4(), lease_seconds=0)
                held = await cursors.claim(connection, *key, owner=uuid4(), lease_seconds=60)
                assert late is not None
                assert held is not None
                before = await connection.fetchrow("SELECT * FROM webhook_cursors")

                async def passed(lease: CursorLease) -> Passed:
                    state = DeliveryState.DELIVERED
                    return await outcomes.record_passed(
                        connection, lease, event, attempt, state=state, until=1, lease_seconds=60
                    )

                assert await passed(late) is Passed.LOST
                assert not await outcomes.record_failed(connection, late, event, attempt, pause=1, refused=False)
                assert not await cursors.skip(connection, late, seq=1, lease_seconds=60)
                assert not await cursors.begin(connection, late, seq=1, incarnation=1)
                assert not await cursors.require_resync(connection, late, seq=1)
                await cursors.end(connection, late)
                await cursors.release(connection, late, seq=1)
                assert await connection.fetchrow("SELECT * FROM webhook_cursors") == before
                assert (
                    await connection.fetchval("SELECT count(*) FROM webhook_deliveries WHERE event_id = 'msg_1'") == 0
                )
                assert await passed(held) is Passed.FREE
