"""Live workers and the leases of dead ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.mail.model import Lane
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import idle_groups, leases, schedule, workers
from services.mail.store.control.idle_groups import IdleGroup
from tests.support.mail.servers import Servers, connect
from tests.support.mail.stored import add_mailbox
from tests.support.mail.waiting import eventually


@pytest.fixture
async def sessions(pool: Pool) -> AsyncIterator[AsyncExitStack]:
    """Yield a stack for the connections of workers; no worker is registered."""
    await pool.execute("DELETE FROM workers")
    async with AsyncExitStack() as stack:
        yield stack
    await pool.execute("DELETE FROM workers")


async def live(servers: Servers, sessions: AsyncExitStack, owner: UUID) -> "asyncpg.Connection[asyncpg.Record]":
    """Register a worker on a connection of its own."""
    session = await connect(servers.database)
    sessions.push_async_callback(session.close)
    await workers.register(session, owner)
    return session


async def claim(connection: Connection, owner: UUID) -> int:
    """Claim a new mailbox; return its id."""
    mailbox_id = (await add_mailbox(connection)).mailbox_id
    await schedule.trigger(connection, mailbox_id)
    [lease] = await leases.claim(
        connection, owner=owner, lane=Lane.LIVE, limit=1, failing_limit=1, lease_seconds=600, backoff_limit=60
    )
    assert lease.mailbox_id == mailbox_id
    return mailbox_id


async def claim_group(connection: Connection, owner: UUID | None) -> IdleGroup | None:
    """Claim a group of idle mailboxes that is due."""
    return await idle_groups.claim(connection, owner=owner, round_seconds=600, lease_seconds=600)


async def is_leased(connection: Connection, mailbox_id: int) -> bool:
    leased: bool = await connection.fetchval(
        "SELECT lease_until > now() FROM mailbox_schedule WHERE mailbox_id = $1", mailbox_id
    )
    return leased


async def registered(connection: Connection) -> set[UUID]:
    return {row["owner"] for row in await connection.fetch("SELECT owner FROM workers")}


class TestRegister:
    async def test_can_be_repeated_on_the_same_connection(
        self, servers: Servers, sessions: AsyncExitStack, connection: Connection
    ) -> None:
        owner = uuid4()
        session = await live(servers, sessions, owner)
        await workers.register(session, owner)
        assert await registered(connection) == {owner}

    async def test_waits_for_the_former_connection_of_the_same_owner(
        self, servers: Servers, sessions: AsyncExitStack, connection: Connection
    ) -> None:
        owner = uuid4()
        former = await live(servers, sessions, owner)
        second = asyncio.create_task(live(servers, sessions, owner))

        async def is_waiting() -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
                )
            )

        await eventually(is_waiting)
        await former.close()
        await second


@pytest.mark.usefixtures("sessions")
class TestFreeLeasesOfDead:
    async def test_spares_live_workers(
        self, servers: Servers, sessions: AsyncExitStack, connection: Connection
    ) -> None:
        owner = uuid4()
        await live(servers, sessions, owner)
        mailbox_id = await claim(connection, owner)
        assert await workers.free_leases_of_dead(connection) == []
        assert await is_leased(connection, mailbox_id)
        assert await registered(connection) == {owner}

    async def test_ends_all_leases_of_a_worker_whose_connection_ended(
        self, servers: Servers, sessions: AsyncExitStack, connection: Connection
    ) -> None:
        dead, alive, unregistered = uuid4(), uuid4(), uuid4()
        session = await live(servers, sessions, dead)
        await live(servers, sessions, alive)
        freed = [await claim(connection, dead) for _ in range(2)]
        kept = [await claim(connection, owner) for owner in (alive, unregistered)]
        await session.close()
        found: list[UUID] = []

        async def is_freed() -> bool:
            found.extend(await workers.free_leases_of_dead(connection))
            return bool(found)

        await eventually(is_freed)
        assert found == [dead]
        assert [await is_leased(connection, mailbox_id) for mailbox_id in freed + kept] == [False, False, True, True]
        assert await registered(connection) == {alive}
        assert await workers.free_leases_of_dead(connection) == []

    async def test_frees_the_groups_of_idle_mailboxes_of_dead_workers(
        self, servers: Servers, sessions: AsyncExitStack, connection: Connection
    ) -> None:
        alive, dead = uuid4(), uuid4()
        await live(servers, sessions, alive)
        await connection.execute("INSERT INTO workers (owner) VALUES ($1)", dead)
        await connection.execute("DELETE FROM idle_groups")
        await connection.execute("INSERT INTO idle_groups (group_id) SELECT generate_series(0, 2)")
        for owner in (alive, dead, None):
            assert await claim_group(connection, owner) is not None
        assert await workers.free_leases_of_dead(connection) == [dead]
        freed = await claim_group(connection, alive)
        assert freed is not None
        assert (freed.group_id, freed.lease_epoch) == (1, 2)
        # The others are still claimed.
        assert await claim_group(connection, alive) is None

    async def test_called_concurrently_reports_a_dead_worker_once(self, pool: Pool) -> None:
        dead = {uuid4() for _ in range(5)}
        await pool.executemany("INSERT INTO workers (owner) VALUES ($1)", [(owner,) for owner in dead])

        async def free() -> list[UUID]:
            async with pool.acquire() as connection:
                return await workers.free_leases_of_dead(connection)

        found = [owner for owners in await asyncio.gather(*(free() for _ in range(4))) for owner in owners]
        assert len(found) == len(set(found))
        assert set(found) | set(await free()) == dead

    async def test_without_workers_does_nothing(self, connection: Connection) -> None:
        assert await workers.free_leases_of_dead(connection) == []
