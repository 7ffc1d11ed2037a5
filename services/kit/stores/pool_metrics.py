"""Metrics of a process's connection pools, read when the metrics are scraped."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from services.kit.stores.postgres import BoundedPool


class PoolMetrics:
    """The metrics of pools by name: connections in use, and their maximum."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._used = Gauge(
            "mailroom_pool_connections_used", "Connections of the pool that are in use.", ["pool"], registry=registry
        )
        self._limit = Gauge(
            "mailroom_pool_connections_limit", "Connections that the pool can have.", ["pool"], registry=registry
        )
        self._timeouts = Counter(
            "mailroom_pool_timeouts", "Waits for a connection that were given up.", ["pool"], registry=registry
        )

    def asyncpg(self, pool: BoundedPool) -> None:
        """Show an asyncpg pool as `postgres`."""
        pool.on_timeout = self._timeouts.labels("postgres").inc
        self._show("postgres", pool.get_max_size(), lambda: pool.get_size() - pool.get_idle_size())

    def sqlalchemy(self, engine: AsyncEngine) -> None:
        """Show the pool of an engine, which must have a fixed size, as `postgres`."""
        pool = engine.pool
        assert isinstance(pool, QueuePool)  # noqa: S101 - `create_engine` of the kit builds no other pool
        self._show("postgres", pool.size(), pool.checkedout)

    def redis(self, redis: Redis, *, name: str = "redis") -> None:
        """Show a client's pool under this name."""
        pool = redis.connection_pool
        # The pool counts idle connections and those in use.
        self._show(name, pool.max_connections, lambda: pool.get_connection_count()[1][0])

    def _show(self, name: str, limit: int, used: Callable[[], int]) -> None:
        self._limit.labels(name).set(limit)
        self._used.labels(name).set_function(used)
