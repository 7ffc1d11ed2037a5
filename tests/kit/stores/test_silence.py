"""Postgres and Redis that accept connections and say nothing: every wait for them ends."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.exceptions import RedisError

from deploy.local.postgres import PostgresAddress
from deploy.local.valkey import RedisAddress
from services.kit.settings import Postgres, RedisSettings
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


async def quick_pool(database: Postgres, *, port: int | None = None) -> BoundedPool:
    """A pool of one connection with short limits."""
    update = {} if port is None else {"host": "127.0.0.1", "port": port}
    pool = await create_pool(database.model_copy(update=update), application_name="tests", size=1)
    pool.acquire_timeout, pool.close_timeout = 0.3, 0.3
    return pool


class TestPool:
    async def test_gives_up_waiting_for_a_connection_and_tells(self, database: Postgres) -> None:
        registry = CollectorRegistry()
        pool = await quick_pool(database)
        PoolMetrics(registry).asyncpg(pool)
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
