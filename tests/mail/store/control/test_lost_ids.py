"""A database that lost commits gives out none of their ids again."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest
import structlog

from deploy.local.postgres import Database
from services.kit.settings import Postgres
from services.kit.stores.postgres import create_pool
from services.mail.store.connection import Connection
from services.mail.store.control import lost_ids
from tests.mail.conftest import MailRoles, settings_of
from tests.support.mail.stored import add_mailbox

_TOLD = "the database is another one than before: ids that it may have lost are skipped"


async def fail_over(connection: Connection) -> None:
    """Let the database be another one than that which gave out the last ids."""
    await connection.execute("UPDATE id_origin SET database_id = 'the lost one'")


async def connect_as(database: Postgres, *, times: int = 1) -> int:
    """Open this many connections at once, as processes do; return how often skipped ids were told."""
    pool = await create_pool(database, application_name="mail", size=times, on_connect=lost_ids.skip)
    with structlog.testing.capture_logs() as logs:
        for connection in await asyncio.gather(*[pool.acquire() for _ in range(times)]):
            await pool.release(connection)
    await pool.close()
    return [entry["event"] for entry in logs].count(_TOLD)


class TestSkip:
    async def test_leaves_far_more_ids_out_than_can_have_been_lost(
        self, connection: Connection, mail_databases: MailRoles
    ) -> None:
        before = (await add_mailbox(connection)).mailbox_id
        await fail_over(connection)
        assert await connect_as(mail_databases.mail) == 1
        assert (await add_mailbox(connection)).mailbox_id > before + 2**20
        for table, column in (("messages", "message_id"), ("syncs", "sync_id")):
            last = "SELECT last_value FROM pg_sequences WHERE sequencename = $1"
            assert await connection.fetchval(last, f"{table}_{column}_seq") > 2**32

    async def test_is_done_once_by_all_processes_together(
        self, connection: Connection, mail_databases: MailRoles
    ) -> None:
        await fail_over(connection)
        told = await asyncio.gather(
            *[connect_as(role, times=3) for role in (mail_databases.mail, mail_databases.worker)]
        )
        assert sum(told) == 1
        assert await connect_as(mail_databases.worker) == 0

    async def test_leaves_out_nothing_in_the_same_database(
        self, connection: Connection, mail_databases: MailRoles
    ) -> None:
        before = (await add_mailbox(connection)).mailbox_id
        assert await connect_as(mail_databases.worker) == 0
        assert (await add_mailbox(connection)).mailbox_id == before + 1

    async def test_refuses_another_database_that_cannot_be_written_to(self, connection: Connection) -> None:
        """It would give out the ids as soon as it can, over this connection."""
        await fail_over(connection)
        async with connection.transaction(readonly=True):
            with pytest.raises(asyncpg.CannotConnectNowError):
                await lost_ids.skip(connection)  # type: ignore[arg-type]  # a pool's connection
        await lost_ids.skip(connection)  # type: ignore[arg-type]  # a pool's connection

    async def test_takes_the_same_database_though_it_cannot_be_written_to(self, connection: Connection) -> None:
        async with connection.transaction(readonly=True):
            await lost_ids.skip(connection)  # type: ignore[arg-type]  # a pool's connection

    async def test_refuses_a_database_that_is_not_migrated(self, create_database: Callable[[str], Database]) -> None:
        pool = await create_pool(
            settings_of(create_database("unmigrated")), application_name="mail", size=1, on_connect=lost_ids.skip
        )
        with pytest.raises(asyncpg.CannotConnectNowError):
            await pool.acquire()
        await pool.close()
