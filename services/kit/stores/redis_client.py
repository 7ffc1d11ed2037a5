"""The Redis (or Valkey) client of a process."""

from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from services.kit.settings import RedisSettings
from services.kit.stores.pool_metrics import PoolMetrics

POOL_SIZE = 32
# Below the only prefix that the gateway's user may write to (deploy/compose.production.yml).
_HEALTH_KEY = "mailroom:limits:health"


def create_redis(settings: RedisSettings) -> Redis:
    """Return a client that decodes text, limits the time of commands, and reconnects once after a lost connection.

    Commands beyond the pool's connections wait for one; redis-py's default pool would refuse them.
    """
    pool = BlockingConnectionPool(
        **_transport(settings),
        host=settings.redis_host,
        port=settings.redis_port,
        db=settings.redis_db,
        username=settings.redis_username,
        password=None if settings.redis_password is None else settings.redis_password.get_secret_value(),
        max_connections=POOL_SIZE,
        timeout=5,
        decode_responses=True,
        socket_connect_timeout=2,
        socket_timeout=5,
        health_check_interval=30,
        # Retry unsent commands only: one that timed out may have run, and GETDEL must not run twice.
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=1, supported_errors=(RedisConnectionError,)),
    )
    return Redis.from_pool(pool)


def show_pool(redis: Redis, metrics: PoolMetrics, *, name: str = "redis") -> None:
    """Show the pool of a client under this name."""
    pool = redis.connection_pool
    # The pool counts idle connections and those in use.
    metrics.show(name, limit=pool.max_connections, used=lambda: pool.get_connection_count()[1][0])


async def check_writes(redis: Redis) -> None:
    """Write to Redis: a full one answers pings. Raises RedisError."""
    await redis.incrby(_HEALTH_KEY, 1)
    await redis.expire(_HEALTH_KEY, 60)


def _transport(settings: RedisSettings) -> dict[str, Any]:
    if not settings.redis_tls:
        return {"connection_class": Connection}
    return {"connection_class": SSLConnection, "ssl_ca_certs": settings.redis_ca and str(settings.redis_ca)}
