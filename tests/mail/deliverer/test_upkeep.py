"""What deliverers repeat."""

import asyncio
from datetime import timedelta

from prometheus_client import CollectorRegistry

from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.deliverer.upkeep import announce_feeds, erase_webhooks, forget_deliveries, reencrypt_secrets
from services.mail.store.control import feed_heads
from services.mail.store.webhooks import cursors, deliveries
from services.mail.webhooks.model import Endpoint
from services.mail.webhooks.secrets import EndpointSecrets, webhook_cipher
from tests.support.mail.running_deliverer import WebhookStage, endpoint_secrets
from tests.support.mail.stored import store
from tests.support.mail.webhook_receiver import Receiver

OLD_KEY, NEW_KEY = "an old key of webhooks, in a test", "a new key of webhooks, in a test too"


class TestAnnounceFeeds:
    async def test_brings_heads_up_to_their_feeds(self, hooks: WebhookStage) -> None:
        mailboxes = [await hooks.mailbox() for _ in range(5)]
        async with hooks.pool.acquire() as connection:
            for mailbox in mailboxes[1:]:
                await store(connection, mailbox.mailbox_id, "more")
            await announce_feeds(hooks.pool, batch=2)
            heads = [await feed_heads.seq_of(connection, mailbox.mailbox_id) for mailbox in mailboxes]
        assert heads == [1, 2, 2, 2, 2]


class TestForgetDeliveries:
    async def test_keeps_failures_longer_than_what_was_delivered(self, hooks: WebhookStage) -> None:
        endpoint = await hooks.endpoint(Receiver(port=8999))
        await hooks.pool.execute("DELETE FROM webhook_deliveries")
        for state, days in (("delivered", 2), ("delivered", 4), ("parked", 4), ("parked", 29), ("parked", 31)):
            for place in range(3):
                await hooks.pool.execute(
                    """
                    INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, state, created_at)
                    VALUES ($1, $2, 'message.created', $3, now() - $4::interval)
                    """,
                    endpoint.endpoint_id,
                    f"{state} {days} {place}",
                    state,
                    timedelta(days=days),
                )
        await forget_deliveries(hooks.pool, 3, batch=2)
        left = await hooks.pool.fetch("SELECT DISTINCT left(event_id, -2) AS kind FROM webhook_deliveries ORDER BY 1")
        assert [row["kind"] for row in left] == ["delivered 2", "parked 29", "parked 4"]

    async def test_deletes_cursors_of_mailboxes_without_a_head(self, hooks: WebhookStage) -> None:
        kept, gone = await hooks.mailbox(), await hooks.mailbox()
        endpoint = await hooks.endpoint(Receiver(port=8999))
        for mailbox in (kept, gone):
            await hooks.pool.execute(
                "INSERT INTO webhook_cursors (endpoint_id, mailbox_id) VALUES ($1, $2)",
                endpoint.endpoint_id,
                mailbox.mailbox_id,
            )
        await hooks.pool.execute("DELETE FROM feed_heads WHERE mailbox_id = $1", gone.mailbox_id)
        await forget_deliveries(hooks.pool, 3, batch=1)
        assert await hooks.pool.fetchval("SELECT array_agg(mailbox_id) FROM webhook_cursors") == [kept.mailbox_id]


async def fill(hooks: WebhookStage, endpoint: Endpoint, *, number: int) -> None:
    """Add so many deliveries to an endpoint, and as many cursors whose events have failed."""
    await hooks.pool.execute(
        """
        INSERT INTO webhook_deliveries (endpoint_id, event_id, event_type, state)
        SELECT $1, n::text, 'message.created', 'delivered' FROM generate_series(1, $2) n
        """,
        endpoint.endpoint_id,
        number,
    )
    await hooks.pool.execute(
        """
        INSERT INTO webhook_cursors (endpoint_id, mailbox_id, due_at, failing_since)
        SELECT $1, n, now(), now() FROM generate_series(1, $2) n
        """,
        endpoint.endpoint_id,
        number,
    )


async def rows_of(hooks: WebhookStage, endpoint: Endpoint) -> dict[str, int]:
    """Count the rows of an endpoint in each table that has some."""
    tables = ("webhook_endpoints", "webhook_secrets", "webhook_cursors", "webhook_deliveries")
    counts = {
        table: await hooks.pool.fetchval(f"SELECT count(*) FROM {table} WHERE endpoint_id = $1", endpoint.endpoint_id)  # noqa: S608 - from the names above
        for table in tables
    }
    return {table: count for table, count in counts.items() if count}


class TestEraseWebhooks:
    async def test_erases_deleted_ones_in_batches_and_no_others(self, hooks: WebhookStage) -> None:
        kept, deleted = [await hooks.endpoint(Receiver(port=8999)) for _ in range(2)]
        for endpoint in (kept, deleted):
            await fill(hooks, endpoint, number=7)
        await hooks.webhooks.delete(hooks.application_id, deleted.endpoint_id)
        before = await rows_of(hooks, deleted)
        assert (before["webhook_cursors"], before["webhook_deliveries"]) == (7, 8)
        async with hooks.pool.acquire() as connection:
            for erase_some in (cursors.erase_some, deliveries.erase_some):
                assert await erase_some(connection, deleted.endpoint_id, limit=3)
        some = await rows_of(hooks, deleted)
        assert (some["webhook_cursors"], some["webhook_deliveries"]) == (4, 5)
        await erase_webhooks(hooks.pool, batch=3)
        assert await rows_of(hooks, deleted) == {}
        assert await rows_of(hooks, kept) == before

    async def test_goes_on_beside_another_deliverer(self, hooks: WebhookStage) -> None:
        endpoint = await hooks.endpoint(Receiver(port=8999))
        await fill(hooks, endpoint, number=20)
        await hooks.webhooks.delete(hooks.application_id, endpoint.endpoint_id)
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(erase_webhooks(hooks.pool, batch=2))
        assert await rows_of(hooks, endpoint) == {}


class TestReencryptSecrets:
    async def test_passes_secrets_that_do_not_open(self, hooks: WebhookStage) -> None:
        old = EndpointSecrets(webhook_cipher(OLD_KEY, previous=None))
        new = EndpointSecrets(webhook_cipher(NEW_KEY, previous=OLD_KEY))
        for _ in range(4):
            await hooks.endpoint(Receiver(port=8999))
        rows = await hooks.pool.fetch("SELECT endpoint_id FROM webhook_secrets ORDER BY endpoint_id, secret_id")
        ids = [row["endpoint_id"] for row in rows]
        # The first ones stay under a key that is lost.
        for endpoint_id in ids[2:]:
            await hooks.pool.execute(
                "UPDATE webhook_secrets SET encrypted = $2 WHERE endpoint_id = $1",
                endpoint_id,
                old.encrypt("whsec_AAAA", endpoint_id),
            )
        await reencrypt_secrets(hooks.pool, new, batch=1)
        rows = await hooks.pool.fetch("SELECT endpoint_id, encrypted FROM webhook_secrets")
        found = {row["endpoint_id"]: bytes(row["encrypted"]) for row in rows}
        alone = EndpointSecrets(webhook_cipher(NEW_KEY, previous=None))
        assert [alone.decrypt(found[each], each) for each in ids[2:]] == ["whsec_AAAA"] * 2
        assert all(endpoint_secrets().decrypt(found[each], each) for each in ids[:2])


class TestMetrics:
    async def test_show_endpoints_and_the_oldest_failure(self, hooks: WebhookStage) -> None:
        mailbox = await hooks.mailbox()
        states = {"ok": "", "failing": "failing_since = now()", "disabled": "disabled_reason = 'gone'"}
        for change in states.values():
            endpoint = await hooks.endpoint(Receiver(port=8999))
            if change:
                await hooks.pool.execute(
                    f"UPDATE webhook_endpoints SET {change} WHERE endpoint_id = $1",  # noqa: S608 - constants
                    endpoint.endpoint_id,
                )
        await hooks.pool.execute(
            """
            INSERT INTO webhook_cursors (endpoint_id, mailbox_id, due_at, failing_since)
            VALUES ($1, $2, now() + interval '1 hour', now() - interval '2 hours')
            """,
            endpoint.endpoint_id,
            mailbox.mailbox_id,
        )
        deleted = await hooks.endpoint(Receiver(port=8999))
        await fill(hooks, deleted, number=3)
        await hooks.webhooks.delete(hooks.application_id, deleted.endpoint_id)
        registry = CollectorRegistry()
        await DelivererMetrics(registry).read(hooks.pool)
        for state in states:
            assert registry.get_sample_value("mailroom_webhook_endpoints", {"state": state}) == 1
        assert registry.get_sample_value("mailroom_webhook_feeds_failing") == 1
        assert (registry.get_sample_value("mailroom_webhook_oldest_failure_seconds") or 0) >= 7200
