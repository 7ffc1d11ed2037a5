"""The stores that a process depends on: a gauge for each, and a log line whenever one is lost or found again."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog
from prometheus_client import CollectorRegistry, Gauge

from services.kit.periodic import PeriodicTask

# Seconds.
_INTERVAL = 10.0
_TIMEOUT = 5.0

log = structlog.get_logger()

type Check = Callable[[], Awaitable[object]]


class Dependencies:
    """Checks of the stores by name. A check writes, since a full store answers reads, and raises what it meets."""

    def __init__(self, registry: CollectorRegistry, checks: Mapping[str, Check], *, timeout: float = _TIMEOUT) -> None:
        self._checks = checks
        self._timeout = timeout
        self._up = Gauge(
            "mailroom_dependency_up", "1 while the store can be written to, else 0.", ["dependency"], registry=registry
        )
        self._lost: set[str] = set()
        for name in checks:
            self._up.labels(name).set(1)

    @property
    def task(self) -> PeriodicTask:
        """The task that checks all stores."""
        return PeriodicTask("check dependencies", _INTERVAL, self.check)

    async def check(self) -> None:
        """Check all stores at the same time."""
        await asyncio.gather(*(self._check(name, check) for name, check in self._checks.items()))

    async def _check(self, name: str, check: Check) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await check()
        except Exception as error:  # noqa: BLE001 - each store has its own errors, and all of them mean the same here
            self._up.labels(name).set(0)
            if name not in self._lost:
                self._lost.add(name)
                log.error(
                    "a store cannot be written to", dependency=name, error=type(error).__name__, reason=str(error)
                )
        else:
            self._up.labels(name).set(1)
            if name in self._lost:
                self._lost.discard(name)
                log.info("a store can be written to again", dependency=name)
