"""Cursors of webhooks: when failed events are due."""

from datetime import timedelta
from uuid import UUID

import pytest

from services.mail.store.webhooks import cursors
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
