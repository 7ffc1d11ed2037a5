"""Postgres and Redis that accept connections and say nothing: every wait for them ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.local.postgres import PostgresAddress
from deploy.local.valkey import RedisAddress
from services.kit.settings import Postgres, RedisSettings
from services.kit.stores import postgres
from services.kit.stores.engine import create_engine, show_pool
from services.kit.stores.pool_metrics import PoolMetrics
from services.kit.stores.postgres import RELEASE_TIMEOUT, BoundedPool, create_pool
from services.kit.stores.redis_client import create_redis
from tests.support.silent_server import SilentServer, silent_server

# The time-outs of Redis's client, and what a busy machine adds.
REDIS_SECONDS = 5.0 + 4.0


@pytest.fixture
def database(postgres_server: PostgresAddress) -> Postgres:
    return Postgres(
        host=postgres_server.host,
        port=postgres_server.port,
        user=postgres_server.user,
        password=SecretStr(postgres_server.password),
        database="postgres",
    )


@pytest.fixture
async def proxy(postgres_server: PostgresAddress) -> AsyncIterator[SilentServer]:
    """A proxy in front of Postgres."""
    async with silent_server(behind=(postgres_server.host, postgres_server.port)) as proxy:
        yield proxy


def at(database: Postgres, port: int | None) -> Postgres:
    """The database, seen through this port of the machine unless it is None."""
    return database.model_copy(update={} if port is None else {"host": "127.0.0.1", "port": port})


async def quick_pool(database: Postgres, *, port: int | None = None, statement: float = 30.0) -> BoundedPool:
    """A pool of one connection with short limits."""
    pool = await create_pool(at(database, port), application_name="tests", size=1, statement=statement)
    pool.acquire_timeout, pool.close_timeout = 0.3, 0.3
    return pool


@asynccontextmanager
async def quick_engine(
    database: Postgres, *, port: int | None = None, statement: float = 30.0, acquire: float = 20.0
) -> AsyncIterator[tuple[AsyncEngine, CollectorRegistry]]:
    """An engine of one connection with short limits, and its metrics."""
    engine = create_engine(
        at(database, port), application_name="tests", pool_size=1, statement=statement, acquire=acquire
    )
    registry = CollectorRegistry()
    show_pool(engine, PoolMetrics(registry))
    yield engine, registry
    await engine.dispose()


async def select_one(engine: AsyncEngine) -> object:
    """Ask the server something, as a use case does."""
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT 1"))


def count(registry: CollectorRegistry, metric: str) -> float:
    """The value of a metric of the pool."""
    return registry.get_sample_value(f"mailroom_{metric}_total", {"pool": "postgres"}) or 0.0


class TestPool:
    async def test_gives_up_waiting_for_a_connection_and_tells(self, database: Postgres) -> None:
        registry = CollectorRegistry()
        pool = await quick_pool(database)
        postgres.show_pool(pool, PoolMetrics(registry))
        pool.acquire_timeout = 10.0
        async with pool.acquire():
            pool.acquire_timeout = 0.3
            with structlog.testing.capture_logs() as logs, pytest.raises(TimeoutError):
                await pool.fetchval("SELECT 1")
        assert [entry["event"] for entry in logs] == ["no connection to Postgres within the time limit"]
        assert registry.get_sample_value("mailroom_pool_timeouts_total", {"pool": "postgres"}) == 1
        pool.acquire_timeout = 10.0
        assert await pool.fetchval("SELECT 1") == 1
        await pool.close()

    async def test_gives_up_a_server_that_never_answers(self, database: Postgres) -> None:
        async with silent_server() as silent:
            pool = await quick_pool(database, port=silent.port)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with pool.acquire():
                    pass
            assert time.monotonic() - began < 3.0
            await pool.close()

    async def test_gives_a_connection_back_that_fell_silent_and_makes_another(
        self, database: Postgres, proxy: SilentServer
    ) -> None:
        pool = await quick_pool(database, port=proxy.port)
        pool.acquire_timeout = 10.0
        assert await pool.fetchval("SELECT 1") == 1
        proxy.silent = True
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await pool.fetchval("SELECT 1", timeout=0.3)
        assert time.monotonic() - began < RELEASE_TIMEOUT + 4.0
        proxy.silent = False
        assert await pool.fetchval("SELECT 1") == 1
        assert proxy.connections >= 2
        await pool.close()

    async def test_gives_up_a_statement_without_an_answer_and_tells(
        self, database: Postgres, proxy: SilentServer
    ) -> None:
        registry = CollectorRegistry()
        pool = await quick_pool(database, port=proxy.port, statement=1.0)
        postgres.show_pool(pool, PoolMetrics(registry))
        pool.acquire_timeout = 10.0
        assert await pool.fetchval("SELECT 1") == 1
        proxy.silent = True
        began = time.monotonic()
        with structlog.testing.capture_logs() as logs, pytest.raises(TimeoutError):
            await pool.fetchval("SELECT 1")
        assert time.monotonic() - began < 1.2 + RELEASE_TIMEOUT + 2.0
        assert [entry["event"] for entry in logs] == ["no answer from Postgres within the time limit"]
        assert count(registry, "statement_timeouts") == 1
        proxy.silent = False
        assert await pool.fetchval("SELECT 1") == 1
        await pool.close()

    async def test_closes_although_a_connection_is_in_use(self, database: Postgres) -> None:
        pool = await quick_pool(database)
        pool.acquire_timeout = 10.0
        holding, ended = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with pool.acquire():
                holding.set()
                await ended.wait()

        holder = asyncio.create_task(hold())
        await holding.wait()
        began = time.monotonic()
        with structlog.testing.capture_logs() as logs:
            await pool.close()
        assert time.monotonic() - began < 3.0
        assert [entry["event"] for entry in logs] == ["connections to Postgres cut off: they did not end in time"]
        ended.set()
        await asyncio.gather(holder, return_exceptions=True)


class TestEngine:
    async def test_gives_up_waiting_for_a_connection_and_tells(self, database: Postgres) -> None:
        async with quick_engine(database, acquire=0.6) as (engine, registry):
            async with engine.connect():
                with structlog.testing.capture_logs() as logs, pytest.raises(PoolTimeoutError):
                    await select_one(engine)
            assert [entry["event"] for entry in logs] == ["no connection to Postgres within the time limit"]
            assert count(registry, "pool_timeouts") == 1
            assert await select_one(engine) == 1

    async def test_gives_up_a_server_that_never_answers(self, database: Postgres) -> None:
        async with silent_server() as silent, quick_engine(database, port=silent.port, acquire=0.6) as (engine, found):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await select_one(engine)
            assert time.monotonic() - began < 3.0
            assert count(found, "pool_timeouts") == 1

    async def test_gives_up_a_statement_without_an_answer_tells_and_makes_another_connection(
        self, database: Postgres, proxy: SilentServer
    ) -> None:
        async with quick_engine(database, port=proxy.port, statement=3.0) as (engine, registry):
            assert await select_one(engine) == 1
            proxy.silent = True
            began = time.monotonic()
            with structlog.testing.capture_logs() as logs, pytest.raises(TimeoutError):
                await select_one(engine)
            # One wait, though the transaction is rolled back, and two seconds to close the connection.
            assert time.monotonic() - began < 3.6 + 2.0 + 1.5
            assert [entry["event"] for entry in logs] == ["no answer from Postgres within the time limit"]
            assert count(registry, "statement_timeouts") == 1
            proxy.silent = False
            assert await select_one(engine) == 1
            assert proxy.connections >= 2


class TestDefaults:
    async def test_no_answer_is_waited_for_longer_than_36_seconds(self, database: Postgres) -> None:
        pool = await create_pool(database, application_name="tests", size=1)
        engine = create_engine(database, application_name="tests", pool_size=1)
        async with pool.acquire() as connection, engine.connect() as other:
            connections: list[Any] = [connection, (await other.get_raw_connection()).driver_connection]
            assert [each._config.command_timeout for each in connections] == [36.0, 36.0]
        await engine.dispose()
        await pool.close()


class TestRedis:
    async def test_that_never_answers_is_given_up(self) -> None:
        async with silent_server() as silent:
            redis = create_redis(RedisSettings(redis_host="127.0.0.1", redis_port=silent.port, redis_db=0))
            began = time.monotonic()
            with pytest.raises(RedisError):
                await redis.get("x")
            assert time.monotonic() - began < 2 * REDIS_SECONDS
            await redis.aclose()

    async def test_that_falls_silent_is_given_up_and_used_again(self, redis_server: RedisAddress) -> None:
        async with silent_server(behind=(redis_server.host, redis_server.port)) as proxy:
            redis = create_redis(
                RedisSettings(redis_host="127.0.0.1", redis_port=proxy.port, redis_db=redis_server.database)
            )
            assert await redis.get("no such key") is None
            proxy.silent = True
            began = time.monotonic()
            with pytest.raises(RedisError):
                await redis.get("no such key")
            assert time.monotonic() - began < REDIS_SECONDS
            proxy.silent = False
            assert await redis.get("no such key") is None
            await redis.aclose()
