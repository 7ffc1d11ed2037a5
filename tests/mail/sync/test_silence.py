"""Servers that take everything and answer nothing: no wait of a worker is endless, and each is told and counted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import structlog
from prometheus_client import CollectorRegistry

from services.kit.observe.setup import Telemetry
from services.kit.settings import Postgres
from services.kit.stores.postgres import RELEASE_TIMEOUT, connect
from services.mail.model import SyncState
from services.mail.providers.gmail.http.deadlines import Deadlines
from services.mail.store.control import schedule
from services.mail.sync.listener import Listener
from services.mail.sync.turns.metrics import TurnMetrics
from services.mail.sync.worker import Limits
from tests.mail.conftest import OpenStage
from tests.support.mail.running_worker import WorkerOptions
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import eventually
from tests.support.silent_server import SilentServer, silent_server

# No call to the provider fails before a test is over.
PATIENT = Deadlines(small=60.0, between=60.0, whole=60.0, longest=60.0)
QUICK = Limits(claim=0.4, drain=0.2, cancel=0.4, listen=0.4, ping=0.2)


def through(database: Postgres, proxy: SilentServer) -> Postgres:
    """The database, seen through a proxy."""
    return database.model_copy(update={"host": "127.0.0.1", "port": proxy.port})


@asynccontextmanager
async def listening(
    database: Postgres, *, cancelled: Callable[[int], None] = lambda _: None
) -> AsyncIterator[tuple[Listener, CollectorRegistry]]:
    """A listener at work."""
    registry = CollectorRegistry()
    listener = Listener(
        lambda: connect(database),
        wake=lambda: None,
        cancelled=cancelled,
        metrics=TurnMetrics(Telemetry(registry)),
        setup_seconds=QUICK.listen,
        ping_seconds=QUICK.ping,
    )
    task = asyncio.create_task(listener.listen())
    try:
        yield listener, registry
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """The value of a metric."""
    return registry.get_sample_value(f"mailroom_{name}", labels) or 0.0


class TestListener:
    async def test_hears_whose_sync_is_cancelled(self, servers: Servers) -> None:
        heard: list[int] = []
        async with listening(servers.database, cancelled=heard.append) as (listener, _):

            async def hears() -> bool:
                return listener.owner is not None

            async def has_heard() -> bool:
                return heard == [7]

            await eventually(hears)
            async with servers.pool.acquire() as connection:
                await schedule.announce_cancelled(connection, 7)
            await eventually(has_heard)

    async def test_gives_up_a_database_that_never_answers(self, servers: Servers) -> None:
        async with silent_server() as silent:
            with structlog.testing.capture_logs() as logs:
                async with listening(through(servers.database, silent)) as (listener, registry):

                    async def has_given_up() -> bool:
                        return value(registry, "worker_waits_given_up_total", wait="listen") >= 1

                    await eventually(has_given_up)
                    assert listener.owner is None
                    assert value(registry, "worker_listening") == 0
            assert "listening for triggers failed, nothing is claimed" in [entry["event"] for entry in logs]

    async def test_notices_a_database_that_falls_silent_and_comes_back_with_it(self, servers: Servers) -> None:
        database = servers.database
        async with (
            silent_server(behind=(database.host, database.port)) as proxy,
            listening(through(database, proxy)) as (listener, registry),
        ):

            async def hears() -> bool:
                return listener.owner is not None

            async def is_deaf() -> bool:
                return listener.owner is None

            await eventually(hears)
            assert value(registry, "worker_listening") == 1
            first, proxy.silent = listener.owner, True
            await eventually(is_deaf)
            assert value(registry, "worker_listening") == 0
            proxy.silent = False
            await eventually(hears)
            assert listener.owner != first

    async def test_gives_up_a_lock_that_does_not_come(self, servers: Servers) -> None:
        registry = CollectorRegistry()
        async with servers.pool.acquire() as blocker, blocker.transaction():
            # The insert of the worker's row waits for it.
            await blocker.execute("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE")
            async with listening(servers.database) as (listener, registry):

                async def has_given_up() -> bool:
                    return value(registry, "worker_waits_given_up_total", wait="listen") >= 1

                await eventually(has_given_up)
                assert listener.owner is None


class TestClaim:
    async def test_is_given_up_and_tried_again(self, stage: OpenStage) -> None:
        async with stage(messages=2, limits=QUICK) as s:
            [worker] = s.workers
            with structlog.testing.capture_logs() as logs:
                async with s.pool.acquire() as blocker, blocker.transaction():
                    await blocker.execute("LOCK TABLE mailbox_schedule IN ACCESS EXCLUSIVE MODE")

                    async def has_given_up() -> bool:
                        return worker.count("worker_waits_given_up_total", wait="claim") >= 2

                    await eventually(has_given_up)
            assert "database unavailable, nothing is claimed" in [entry["event"] for entry in logs]
            assert (await s.sync()).sync.state is SyncState.COMPLETED


class TestDrain:
    async def test_ends_with_a_turn_that_waits_for_the_provider(self, stage: OpenStage) -> None:
        async with stage(messages=2, deadlines=PATIENT, limits=QUICK) as s:
            [worker] = s.workers
            await s.at_provider.fail({"method": "gmail.messages.list", "kind": "timeout", "seconds": 30.0})
            await s.request()

            async def hangs() -> bool:
                return any(await s.at_provider.fired())

            await eventually(hangs)
            began = time.monotonic()
            with structlog.testing.capture_logs() as logs:
                await worker.drain()
            # The call has a minute.
            assert time.monotonic() - began < 10.0
            assert worker.count("worker_waits_given_up_total", wait="drain") == 1
            assert "turns cancelled: they did not end in time" in [entry["event"] for entry in logs]

    async def test_ends_with_a_silent_database(self, stage: OpenStage, servers: Servers) -> None:
        database = servers.worker_database
        async with silent_server(behind=(database.host, database.port)) as proxy, stage(messages=2, workers=0) as s:
            s.servers = replace(s.servers, worker_database=through(database, proxy))
            async with s.another_worker(WorkerOptions(limits=QUICK)) as worker:
                await s.sync()
                proxy.silent = True
                await asyncio.wait_for(proxy.heard.wait(), 30)
                began = time.monotonic()
                await worker.drain()
                assert time.monotonic() - began < 2 * RELEASE_TIMEOUT + 4.0
                proxy.silent = False


class TestLongTurn:
    async def test_is_told_with_its_step_and_shown(self, stage: OpenStage) -> None:
        async with stage(messages=2, deadlines=PATIENT, lease_seconds=0.6, long_turn=0.5) as s:
            [worker] = s.workers
            assert worker.count("oldest_turn_seconds") == 0
            await s.at_provider.fail({"method": "gmail.messages.list", "kind": "slow", "seconds": 600.0, "count": 1})
            began = time.monotonic()
            with structlog.testing.capture_logs() as logs:
                report = await s.request()

                def told() -> list[str]:
                    return [entry["step"] for entry in logs if entry["event"] == "a turn takes long"]

                async def is_told() -> bool:
                    return told().count("listing") >= 3

                await eventually(is_told)
                assert worker.count("oldest_turn_seconds") >= 0.5
                await s.servers.sandbox.control("DELETE", "faults")
                assert (await s.ended(report)).sync.state is SyncState.COMPLETED
            # Once for each half second.
            assert len(told()) <= 2 * (time.monotonic() - began) + 1

            async def is_over() -> bool:
                return worker.count("oldest_turn_seconds") == 0

            await eventually(is_over)
