"""The renewal of leases while turns go on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from services.mail.store.connection import Pool
from services.mail.store.control import leases
from services.mail.store.control.leases import Lease, LeaseLostError

# Seconds after which a turn is cancelled. Longer than any single call to a provider may take.
LONGEST_TURN = 240.0
# Seconds after which a turn is logged, and again after each as many more: it hangs in a call or a statement.
LONG_TURN = 30.0

log = structlog.get_logger()


class TurnTimeoutError(Exception):
    """A turn exceeded its time limit."""


class LeaseRenewal:
    """Renews the leases of turns, and cancels the turns that lost theirs or take too long. Times are in seconds."""

    def __init__(
        self, pool: Pool, *, lease_seconds: float, longest_turn: float = LONGEST_TURN, long_turn: float = LONG_TURN
    ) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds
        self._longest_turn = longest_turn
        self._long_turn = long_turn

    @asynccontextmanager
    async def during(self, lease: Lease, *, step: Callable[[], str]) -> AsyncIterator[None]:
        """Renew the lease during the block, and cancel the block when the lease is lost.

        Without the lease a turn must not call the provider: it can store nothing, and another worker calls too. `step`
        tells what the turn is doing, for the log. Raises LeaseLostError, TurnTimeoutError.
        """
        try:
            async with asyncio.timeout(self._longest_turn) as scope:
                lost = asyncio.Event()
                renewal = asyncio.create_task(self._renew(lease, scope, lost, step))
                try:
                    yield
                finally:
                    renewal.cancel()
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise (LeaseLostError if lost.is_set() else TurnTimeoutError) from error

    async def _renew(self, lease: Lease, scope: asyncio.Timeout, lost: asyncio.Event, step: Callable[[], str]) -> None:
        """Renew until the scope expires. Cancel it if the lease is lost, or expires while it cannot be renewed.

        A turn that does not end when it is cancelled has its slot, but no lease: another one may go on.
        """
        began = renewed = time.monotonic()
        pause = self._lease_seconds / 3
        told = 0
        while time.monotonic() - renewed < self._lease_seconds:
            await asyncio.sleep(pause)
            if scope.expired():
                break
            if (periods := int((time.monotonic() - began) / self._long_turn)) > told:
                told = periods
                log.warning("a turn takes long", seconds=round(time.monotonic() - began, 1), step=step())
            try:
                async with asyncio.timeout(pause), self._pool.acquire() as connection:
                    if not await leases.renew(connection, lease, lease_seconds=self._lease_seconds):
                        break
                renewed = time.monotonic()
            except Exception as error:  # noqa: BLE001 - whatever it is, the turn may go on until its lease expires only
                log.warning("lease not renewed", error=type(error).__name__)
        if not scope.expired():
            lost.set()
            scope.reschedule(asyncio.get_running_loop().time())
        while True:
            await asyncio.sleep(self._long_turn)
            log.warning("a cancelled turn does not end", seconds=round(time.monotonic() - began, 1), step=step())
