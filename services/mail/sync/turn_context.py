"""The context of one turn with one mailbox: fenced database access, provider calls under quota."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from services.mail.model import Mailbox
from services.mail.provider_access.access_tokens import AccessTokens
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.providers.base import Provider, RateLimitedError, TokenRefusedError, TooConcurrentError
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import schedule
from services.mail.store.control.schedule import Lease
from services.mail.store.sync import syncs
from services.mail.sync.turn_metrics import TurnMetrics

# Waiting this long for quota is cheaper than giving the mailbox back and claiming it again.
_SHORT_WAIT = 0.1
# After "too many concurrent requests": others use the mailbox as well.
_CONCURRENCY_PAUSE = 2.0


class TurnContext:
    """Everything that a turn needs. `newest_hint` is the latest trigger that a transaction of this turn has seen."""

    def __init__(
        self,
        *,
        lease: Lease,
        mailbox: Mailbox,
        pool: Pool,
        provider: Provider,
        quota: Quota,
        concurrency_limit: ConcurrencyLimit,
        tokens: AccessTokens,
        metrics: TurnMetrics,
    ) -> None:
        self.lease = lease
        self.mailbox = mailbox
        self.mailbox_id = mailbox.mailbox_id
        self.provider = provider
        self.quota = quota
        self.concurrency_limit = concurrency_limit
        self.metrics = metrics
        self.newest_hint = lease.hint_seq
        self._pool = pool
        self._tokens = tokens
        # Whether this turn has copied the provider's labels, and those that it has found to be known.
        self.labels_are_fresh = False
        self.known_labels: set[str] = set()
        self._uncounted_units = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A connection for reading."""
        async with self._pool.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction that commits only while the lease is ours. Raises LeaseLostError."""
        async with self._pool.acquire() as connection, connection.transaction():
            self.newest_hint = await schedule.fence(connection, self.lease)
            units, self._uncounted_units = self._uncounted_units, 0
            if units:
                await syncs.count(connection, self.mailbox_id, units=units)
            yield connection

    async def take_units(
        self, units: int, *, patience: float = _SHORT_WAIT, live: bool = True, counted: bool = True
    ) -> None:
        """Takes quota, waiting for it up to `patience` seconds. Raises QuotaWaitError.

        The active sync reports what is `counted` as spent by it.
        """
        while True:
            try:
                await self.quota.take(self.mailbox_id, units, live=live)
            except QuotaWaitError as wait:
                if wait.seconds > patience:
                    raise
                await asyncio.sleep(wait.seconds)
            else:
                self._uncounted_units += units if counted else 0
                return

    async def take_units_in_parts(self, units: int, *, patience: float, counted: bool = True) -> None:
        """Takes more than a bucket holds, waiting up to `patience` seconds for each part. Raises QuotaWaitError."""
        while units > 0:
            part = min(units, self.quota.burst)
            await self.take_units(part, patience=patience, counted=counted)
            units -= part

    async def call[T](self, units: int, ask: Callable[[str], Awaitable[T]], *, live: bool = True) -> T:
        """Takes quota and calls the provider with an access token, with a new one if the first is refused."""
        await self.take_units(units, live=live)
        return await self.call_prepaid(ask)

    async def call_prepaid[T](self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Calls the provider with quota that was taken before. A call that is repeated is not counted by providers."""
        token = await self._tokens.get(self.mailbox)
        try:
            try:
                return await ask(token)
            except TokenRefusedError:
                return await ask(await self._tokens.replace(self.mailbox, token))
        except (RateLimitedError, TooConcurrentError) as error:
            raise await self.back_off(error) from error

    async def another_token(self, ask: Callable[[str], Awaitable[None]]) -> None:
        """Runs `ask` with a token other than the present one, which the provider refused for some messages."""
        await ask(await self._tokens.replace(self.mailbox, await self._tokens.get(self.mailbox)))

    async def back_off(self, error: RateLimitedError | TooConcurrentError) -> QuotaWaitError:
        """Closes the bucket that the provider complained about; returns the wait to raise."""
        if isinstance(error, TooConcurrentError):
            seconds, whole_project = _CONCURRENCY_PAUSE, False
            await self.concurrency_limit.lower(self.mailbox_id)
        else:
            seconds, whole_project = error.retry_after, error.whole_project
        await self.quota.pause(self.mailbox_id, seconds, whole_project=whole_project)
        return QuotaWaitError(seconds)
