"""Metrics of a process's connection pools, read when the metrics are scraped."""

from collections.abc import Callable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge


class TellsOfTimeouts(Protocol):
    """A pool that tells of waits that were given up: for a connection, and for the answer to a statement."""

    on_timeout: Callable[[], None]
    on_statement_timeout: Callable[[], None]


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
        self._statement_timeouts = Counter(
            "mailroom_statement_timeouts",
            "Waits for the answer to a statement that were given up.",
            ["pool"],
            registry=registry,
        )

    def count_timeouts(self, name: str, pool: TellsOfTimeouts) -> None:
        """Count the waits for a pool under this name that are given up."""
        pool.on_timeout = self._timeouts.labels(name).inc
        pool.on_statement_timeout = self._statement_timeouts.labels(name).inc

    def show(self, name: str, *, limit: int, used: Callable[[], int]) -> None:
        """Show a pool of `limit` connections under this name; `used` counts those in use."""
        self._limit.labels(name).set(limit)
        self._used.labels(name).set_function(used)
