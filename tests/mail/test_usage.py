"""What processes count of mailboxes, and when the database gets it."""

import pytest

from services.kit.stores.postgres import create_pool
from services.mail.model import Measure
from services.mail.store.connection import DATABASE_LOST
from services.mail.usage import UsageCounter
from tests.mail.conftest import OpenStage
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage
from tests.support.mail.stored import add_mailbox
from tests.support.mail.usage import counted
from tests.support.mail.waiting import eventually


async def is_looked_at(s: Stage) -> bool:
    """Return whether the worker has looked at the idle mailbox."""
    return s.workers[0].count("idle_checks_total", outcome="unchanged") > 0


class TestFlush:
    async def test_keeps_what_an_unreachable_database_did_not_take(self, servers: Servers, free_port: int) -> None:
        await servers.empty()
        async with servers.pool.acquire() as connection:
            mailbox = await add_mailbox(connection)
        usage = UsageCounter()
        usage.count(mailbox.mailbox_id, Measure.CHANGES, 2)
        gone = await create_pool(
            servers.database.model_copy(update={"port": free_port}), application_name="test", size=1
        )
        with pytest.raises(DATABASE_LOST):
            await usage.flush(gone)
        await usage.close(gone)
        await gone.close()
        usage.count(mailbox.mailbox_id, Measure.CHANGES)
        await usage.flush(servers.pool)
        await usage.flush(servers.pool)
        assert await counted(servers.pool, Measure.CHANGES) == 3

    async def test_writes_a_row_a_mailbox_in_one_transaction_however_much_was_counted(self, servers: Servers) -> None:
        await servers.empty()
        usage = UsageCounter()
        async with servers.pool.acquire() as connection:
            for n in range(20):
                mailbox = await add_mailbox(connection, email=f"{n}@example.com")
                for _ in range(50):
                    usage.count(mailbox.mailbox_id, Measure.MESSAGES_STORED)
        await usage.flush(servers.pool)
        assert await counted(servers.pool, Measure.MESSAGES_STORED) == 1000
        written = await servers.pool.fetchrow("SELECT count(*) AS rows, count(DISTINCT xmin::text) FROM usage_hours")
        assert tuple(written or ()) == (21, 1)


class TestWorker:
    async def test_counts_messages_changes_and_the_units_of_the_provider(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            await s.sync(count=None)
            [worker] = s.workers
            # The service records the connection.
            brought = "SELECT count(*) FROM message_changes WHERE event IS DISTINCT FROM 'mailbox.connected'"

            async def is_counted() -> bool:
                await worker.usage.flush(s.pool)
                return bool(await counted(s.pool, Measure.CHANGES) == await s.fetchval(brought))

            # Changes are counted when the turn has ended.
            await eventually(is_counted)
            assert await counted(s.pool, Measure.MESSAGES_STORED) == 5
            assert await counted(s.pool, Measure.PROVIDER_UNITS) == (await s.at_provider.quota())["units"]

    async def test_adds_its_last_counts_when_it_ends(self, stage: OpenStage) -> None:
        async with stage(workers=0, messages=5) as s:
            await s.sync_with_worker(count=None)
            assert await counted(s.pool, Measure.MESSAGES_STORED) == 5

    async def test_counts_the_units_of_idle_checks(self, stage: OpenStage) -> None:
        async with stage(messages=1, poll_seconds=0.5) as s:
            await s.sync(count=None)
            await eventually(lambda: is_looked_at(s))
            await s.workers[0].drain()
            await s.workers[0].usage.flush(s.pool)
            assert await counted(s.pool, Measure.PROVIDER_UNITS) == (await s.at_provider.quota())["units"]
