"""Taking over the leases of dead workers at once, and only of these."""

import asyncio
from uuid import UUID

from services.mail.model import SyncState
from services.mail.providers.gmail.http.deadlines import Deadlines
from services.mail.store.control import workers
from tests.mail.conftest import OpenStage
from tests.support.mail.running_worker import WorkerOptions
from tests.support.mail.servers import connect
from tests.support.mail.stage import Stage
from tests.support.mail.waiting import eventually

# Longer than any test: only the lock shows that a worker is dead.
LONG = 300.0
PATIENT = Deadlines(small=LONG, between=LONG, whole=LONG, longest=LONG)


async def end_connections(s: Stage, name: str) -> None:
    """End a worker's connections, including its listener's."""
    await s.pool.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", name)


async def registered(s: Stage) -> set[UUID]:
    """Return the stage's workers, once all are registered."""

    async def are_registered() -> bool:
        return all(running.worker._listener.owner is not None for running in s.workers)

    await eventually(are_registered)
    return {owner for running in s.workers if (owner := running.worker._listener.owner) is not None}


async def is_slow(s: Stage) -> bool:
    """Return whether the slow call has arrived."""
    return await s.at_provider.fired() == [1]


class TestTakeover:
    async def test_of_a_dead_workers_mailbox_does_not_wait_for_its_lease(self, stage: OpenStage) -> None:
        async with stage(messages=60, workers=0) as s:
            await s.at_provider.fail({"method": "gmail.messages.list", "kind": "slow", "seconds": 60.0, "count": 1})
            async with s.another_worker(WorkerOptions(lease_seconds=LONG, deadlines=PATIENT)) as dead:
                report = await s.request(count=None)
                await eventually(lambda: is_slow(s))
                await dead.crash()
                assert await s.fetchval("SELECT lease_until > now() + interval '1 minute' FROM mailbox_schedule")
                async with s.another_worker(WorkerOptions(lease_seconds=LONG)):
                    ended = await s.ended(report)
            assert ended.sync.state is SyncState.COMPLETED

    async def test_leaves_live_workers_alone(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=2, lease_seconds=LONG) as s:
            living = await registered(s)
            async with s.pool.acquire() as connection:
                assert not living & set(await workers.free_leases_of_dead(connection))
            await s.sync(count=None)
            assert await registered(s) == living

    async def test_of_a_connection_the_server_believes_alive_stops_no_worker(self, stage: OpenStage) -> None:
        async with stage(messages=5, lease_seconds=LONG) as s:
            await registered(s)
            lost = s.workers[0].worker._listener
            connection = await connect(s.servers.database)
            assert lost.owner is not None
            # The old connection's lock stays, as during a network failure.
            kept = asyncio.create_task(workers.register(connection, lost.owner))
            await end_connections(s, s.workers[0].name)
            await kept
            assert (await s.sync(count=None)).sync.state is SyncState.COMPLETED
            await connection.close()

    async def test_of_a_worker_that_lost_only_its_connections_does_no_harm(self, stage: OpenStage) -> None:
        async with stage(messages=80, workers=2, lease_seconds=LONG) as s:
            await registered(s)
            report = await s.request(count=None)
            await s.until_stored_some()
            for worker in s.workers:
                await end_connections(s, worker.name)
            assert (await s.ended(report)).sync.state is SyncState.COMPLETED
            await s.mirrors()
