"""A store that cannot be written to shows in a gauge and in the log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError
from structlog.testing import capture_logs

from deploy.local.ports import Ports
from deploy.local.postgres import Database
from deploy.local.valkey import EmbeddedValkey
from services.kit.observe.dependencies import Dependencies
from services.kit.settings import Postgres
from services.kit.stores import postgres, redis_client
from services.kit.stores.postgres import BoundedPool, ReadOnlyError, create_pool


class Store:
    """A store that is written to, or not."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.is_silent = False

    async def check(self) -> None:
        """Fail as the store fails."""
        if self.is_silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


class TestDependencies:
    def _up(self, registry: CollectorRegistry, name: str) -> float | None:
        return registry.get_sample_value("mailroom_dependency_up", {"dependency": name})

    async def test_are_shown_apart_and_logged_once_for_each_loss(self) -> None:
        registry, lost, other = CollectorRegistry(), Store(), Store()
        dependencies = Dependencies(registry, {"redis": lost.check, "postgres": other.check})
        with capture_logs() as logs:
            await dependencies.check()
            assert (self._up(registry, "redis"), logs) == (1, [])
            lost.error = OSError("refused")
            for _ in range(3):
                await dependencies.check()
            assert (self._up(registry, "redis"), self._up(registry, "postgres")) == (0, 1)
            lost.error = None
            await dependencies.check()
        assert self._up(registry, "redis") == 1
        assert [(entry["event"], entry["dependency"], entry["log_level"]) for entry in logs] == [
            ("a store cannot be written to", "redis", "error"),
            ("a store can be written to again", "redis", "info"),
        ]
        assert (logs[0]["error"], logs[0]["reason"]) == ("OSError", "refused")

    async def test_that_do_not_answer_in_time_are_lost(self) -> None:
        registry, silent = CollectorRegistry(), Store()
        silent.is_silent = True
        await Dependencies(registry, {"redis": silent.check}, timeout=0.01).check()
        assert self._up(registry, "redis") == 0


class TestRedis:
    async def test_that_is_full_answers_pings_and_cannot_be_written_to(self, server_home: Path, ports: Ports) -> None:
        home = server_home / "full"
        home.mkdir()
        with EmbeddedValkey(home, port=ports.free()) as server:
            redis = Redis.from_url(server.address.url)
            try:
                await redis_client.check_writes(redis)
                await redis.config_set("maxmemory-policy", "noeviction")
                await redis.config_set("maxmemory", 1)
                assert await redis.ping()
                with pytest.raises(OutOfMemoryError):
                    await redis_client.check_writes(redis)
            finally:
                await redis.aclose()


class TestPostgres:
    @pytest.fixture
    async def pool(self, create_database: Callable[[str], Database]) -> AsyncIterator[BoundedPool]:
        """A pool of one connection."""
        database = create_database("dependencies")
        server = database.server
        address = Postgres(
            host=server.host,
            port=server.port,
            user=server.user,
            password=SecretStr(server.password),
            database=database.name,
        )
        pool = await create_pool(address, application_name="test", size=1)
        yield pool
        await pool.close()

    async def test_is_written_to(self, pool: BoundedPool) -> None:
        before = await pool.fetchval("SELECT pg_current_wal_insert_lsn()")
        await postgres.check_writes(pool)
        assert await pool.fetchval("SELECT pg_current_wal_insert_lsn()") > before

    async def test_that_is_read_only_is_lost(self, pool: BoundedPool) -> None:
        await pool.execute("SET default_transaction_read_only = on")
        assert await pool.fetchval("SELECT 1") == 1
        with pytest.raises(ReadOnlyError):
            await postgres.check_writes(pool)
