"""A Redis in which only the current test counts quota."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.local.valkey import RedisAddress
from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis

# Processes of other tests report the ends of their calls to database 0, by the real clock, even after their test.
_DATABASE = 5


@pytest.fixture(scope="session")
async def quota_redis(redis_server: RedisAddress) -> AsyncIterator[Redis]:
    """Yield a Redis database of its own, empty before and after the test."""
    redis = create_redis(RedisSettings(redis_host=redis_server.host, redis_port=redis_server.port, redis_db=_DATABASE))
    yield redis
    await redis.flushdb()
    await redis.aclose()
