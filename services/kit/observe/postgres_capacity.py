"""Whether Postgres allows a process the connections that it may want."""

from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge

from services.kit.periodic import PeriodicTask

# Seconds.
_INTERVAL = 300.0

log = structlog.get_logger()


class PostgresCapacity:
    """The connections that the server allows, as a gauge; an alert compares it with the pools of all processes."""

    def __init__(
        self, registry: CollectorRegistry, *, wanted: int, read: Callable[[], Awaitable[tuple[str, int]]]
    ) -> None:
        """`wanted` are the connections of this process at most; `read` returns the server's id and what it allows.

        `fits` tells whether that is enough; True until the server has answered. A process that does not fit would wait
        for connections that it cannot get: it is not ready, so that a replacement by it is given up.
        """
        self.fits = True
        self._wanted = wanted
        self._read = read
        self._allowed = Gauge(
            "mailroom_postgres_connections_allowed",
            "Connections that a server of Postgres allows all processes of this role together.",
            ["server"],
            registry=registry,
        )

    @property
    def task(self) -> PeriodicTask:
        """The task that reads the limit, and reads it again: the server can be restarted with another."""
        return PeriodicTask("read the limit of connections", _INTERVAL, self.check)

    async def check(self) -> None:
        """Read the limit; log that this process does not fit."""
        server, allowed = await self._read()
        # After a failover there is another server.
        self._allowed.clear()
        self._allowed.labels(server).set(allowed)
        self.fits = self._wanted <= allowed
        if not self.fits:
            log.error("Postgres allows fewer connections than this process wants", wanted=self._wanted, allowed=allowed)
