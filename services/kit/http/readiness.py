"""When a process takes requests, and how it stops taking them."""

import asyncio
from collections.abc import Awaitable, Callable

ReadinessCheck = Callable[[], Awaitable[bool]]


async def _nothing_else() -> bool:
    return True


class Readiness:
    """True from `serving` on until `stop` is set, as long as `check` agrees."""

    def __init__(self, stop: asyncio.Event, *, check: ReadinessCheck = _nothing_else) -> None:
        self._stop = stop
        self._check = check
        self._serving = False

    def serving(self) -> None:
        """Says that all ports are open."""
        self._serving = True

    async def __call__(self) -> bool:
        """Whether requests should come here."""
        return self._serving and not self._stop.is_set() and await self._check()

    async def until_stopped(self, *, drain_delay: float) -> None:
        """Waits for `stop`, and then for `drain_delay` seconds, in which load balancers find out and go elsewhere."""
        await self._stop.wait()
        await asyncio.sleep(drain_delay)
