"""The embedded servers: durable, private, and able to start again after any kind of death."""

from collections.abc import Callable

import asyncpg
import redis.asyncio

from deploy.local.postgres import Database
from deploy.local.valkey import RedisAddress


class TestFixtures:
    async def test_a_created_database_sorts_and_folds_the_same_everywhere(
        self, create_database: Callable[[str], Database]
    ) -> None:
        connection = await asyncpg.connect(create_database("locale").dsn)
        try:
            assert await connection.fetchval("SELECT lower('ПРИВЕТ')") == "привет"
            assert await connection.fetchval("SHOW fsync") == "on"
        finally:
            await connection.close()

    async def test_valkey_answers_and_keeps_nothing_on_disk(self, redis_server: RedisAddress) -> None:
        async with redis.asyncio.Redis.from_url(redis_server.url) as client:
            assert await client.ping()
            assert await client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}
