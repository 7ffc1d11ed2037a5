"""The readiness of a process, from its start until it has drained."""

import asyncio
from collections.abc import Awaitable, Callable

ReadinessCheck = Callable[[], Awaitable[bool]]


async def _nothing_else() -> bool:
    return True


class Readiness:
    """The readiness check of a process: true from `serving` until `stop` is set, as long as `check` returns true."""

    def __init__(self, stop: asyncio.Event, *, check: ReadinessCheck = _nothing_else) -> None:
        self._stop = stop
        self._check = check
        self._serving = False

    def serving(self) -> None:
        """Record that all ports are open."""
        self._serving = True

    async def __call__(self) -> bool:
        """Return whether load balancers should send requests here."""
        return self._serving and not self._stop.is_set() and await self._check()

    async def until_stopped(self, *, drain_delay: float) -> None:
        """Wait for `stop`, and then for `drain_delay` seconds, within which load balancers stop sending requests."""
        await self._stop.wait()
        await asyncio.sleep(drain_delay)
