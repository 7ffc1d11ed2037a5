"""What waits for deliverers."""

from uuid import uuid4

import pytest

from services.mail.store.webhooks import cursors, deliveries, waiting
from services.mail.webhooks.model import Endpoint
from tests.support.mail.running_deliverer import WebhookStage, webhook_stage
from tests.support.mail.servers import Servers
from tests.support.mail.webhook_receiver import Receiver


async def plan(hooks: WebhookStage, endpoint: Endpoint, *, tries: int, due: str = "now() - interval '1 hour'") -> None:
    """Plan tries of events of feeds and apart from them, as many of each."""
    await hooks.pool.execute(
        f"""
        INSERT INTO webhook_cursors (endpoint_id, mailbox_id, seq, tries, due_at)
        SELECT $1, number, 0, 1, {due} FROM generate_series(1, $2) number
        """,  # noqa: S608 - constants
        endpoint.endpoint_id,
        tries,
    )
    await hooks.pool.execute(
        f"""
        INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, state, due_at)
        SELECT $1, 'msg_' || number, 'message.created', 'failing', {due} FROM generate_series(1, $2) number
        """,  # noqa: S608 - constants
        endpoint.endpoint_id,
        tries,
    )


class TestDue:
    async def test_are_as_many_of_each_endpoint(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            busy, other, later = [await hooks.endpoint(Receiver(port=8999)) for _ in range(3)]
            await hooks.pool.execute("DELETE FROM webhook_deliveries")
            await plan(hooks, busy, tries=9)
            await plan(hooks, other, tries=2, due="now()")
            await plan(hooks, later, tries=2, due="now() + interval '1 hour'")
            for find in (waiting.due_feeds, waiting.due_deliveries):
                async with hooks.pool.acquire() as connection:
                    found = [each.endpoint_id for each in await find(connection, limit=3)]
                assert sorted(found) == sorted([busy.endpoint_id] * 3 + [other.endpoint_id] * 2)

    async def test_of_a_disabled_endpoint_are_its_tests(self, servers: Servers) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint = await hooks.endpoint(Receiver(port=8999))
            await plan(hooks, endpoint, tries=3)
            await hooks.pool.execute("UPDATE webhook_endpoints SET disabled_reason = 'failing'")
            async with hooks.pool.acquire() as connection:
                assert await waiting.due_feeds(connection, limit=9) == []
                [found] = await waiting.due_deliveries(connection, limit=9)
                assert await hooks.pool.fetchval(
                    "SELECT event_type FROM webhook_deliveries WHERE delivery_id = $1", found.number
                ) == "webhook.test"  # fmt: skip


class TestLease:
    @pytest.mark.parametrize(("until", "is_free"), [("-1 second", True), ("1 minute", False), ("1 hour", True)])
    async def test_ends_with_its_time_or_with_the_clock_set_back(
        self, servers: Servers, until: str, *, is_free: bool
    ) -> None:
        async with webhook_stage(servers) as hooks:
            endpoint, mailbox = await hooks.endpoint(Receiver(port=8999)), await hooks.mailbox()
            key, named = (endpoint.endpoint_id, mailbox.mailbox_id), endpoint.endpoint_id
            async with hooks.pool.acquire() as connection:
                assert await cursors.claim(connection, *key, owner=uuid4(), lease_seconds=60)
                for table in ("webhook_cursors", "webhook_deliveries"):
                    await connection.execute(
                        f"UPDATE {table} SET lease_until = now() + $1::text::interval, due_at = now()",  # noqa: S608
                        until,
                    )
                found = [
                    bool(await waiting.feeds_of(connection, [mailbox.mailbox_id])),
                    bool(await waiting.feeds(connection, limit=1)),
                    bool(await waiting.due_feeds(connection, limit=1)),
                    bool(await waiting.due_deliveries(connection, limit=1)),
                    bool(await cursors.claim(connection, *key, owner=uuid4(), lease_seconds=60)),
                    bool(await deliveries.claim(connection, named, await delivery_of_test(hooks), lease_seconds=60)),
                ]
            assert found == [is_free] * 6


async def delivery_of_test(hooks: WebhookStage) -> int:
    """Return the delivery of the test that a new endpoint gets."""
    return int(await hooks.pool.fetchval("SELECT delivery_id FROM webhook_deliveries"))
