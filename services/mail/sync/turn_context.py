"""The context of a turn with a mailbox: fenced database access, and provider calls under quota."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any

import structlog

from services.mail.model import Mailbox
from services.mail.provider_access.calls import SHORT_WAIT, ProviderAccess
from services.mail.provider_access.quota import QuotaScope, QuotaWaitError
from services.mail.providers.base import MailboxSession, Profile, Provider
from services.mail.providers.errors import LimitError
from services.mail.providers.label_ids import mark_ids
from services.mail.store.connection import Connection
from services.mail.store.sync import syncs
from services.mail.sync.fenced import FencedTransactions
from services.mail.sync.intervals import Intervals
from services.mail.sync.turns.metrics import TurnMetrics


class ProviderLimitError(QuotaWaitError):
    """The provider refuses calls, whatever the quota by our own count."""

    def __init__(self, limit: LimitError) -> None:
        scope = QuotaScope.PROJECT if limit.whole_project else QuotaScope.MAILBOX
        super().__init__(limit.retry_after, scope=scope)


class TurnContext:
    """The parts that a turn needs.

    Units taken by `calls` count towards the active sync, those of `uncounted_calls` do not.
    """

    def __init__(
        self,
        *,
        transactions: FencedTransactions,
        mailbox: Mailbox,
        provider: Provider,
        session: MailboxSession,
        access: ProviderAccess,
        metrics: TurnMetrics,
        intervals: Intervals,
    ) -> None:
        self.lease = transactions.lease
        self.mailbox_id = mailbox.mailbox_id
        self.mark_ids = mark_ids(mailbox.provider)
        self.provider = provider
        self.session = session
        self.calls = access.calls(mailbox)
        self.uncounted_calls = access.calls(mailbox)
        self.identity = mailbox.identity
        self.quota = access.quotas[mailbox.provider]
        self.concurrency_limit = access.concurrency_limit
        self.metrics = metrics
        self.usage = access.usage
        self.intervals = intervals
        # Whether the provider has answered a call for mail or labels in this turn: access to these counts.
        self.answered = False
        # Whether a sync of the mailbox was cancelled during this turn, as far as this process has heard.
        self.is_cancelled = False
        # Whether the addresses to send from are to be asked for.
        self.send_as_is_due = mailbox.send_as_is_due
        # The profile that a call of this turn has read.
        self.profile: Profile | None = None
        # Whether this turn has asked for the provider's labels, the hint that it had seen then, and the labels that it
        # knows to be stored.
        self.has_listed_labels = False
        self.labels_hint = 0
        self.known_labels: set[str] = set()
        self.step = "claimed"
        self._transactions = transactions
        self._reported_units = self._units_in_report = 0
        self._beside: asyncio.Task[None] | None = None

    @property
    def newest_hint(self) -> int:
        """The latest hint that a transaction of this turn has seen."""
        return self._transactions.newest_hint

    @property
    def has_saved(self) -> bool:
        """Whether a transaction was committed."""
        return self._transactions.has_saved

    @property
    def step(self) -> str:
        """The current step of the turn, for logs."""
        return self._step

    @step.setter
    def step(self, step: str) -> None:
        self._step = step
        structlog.contextvars.bind_contextvars(step=step)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Acquire a connection for reads."""
        async with self._transactions.pool.acquire() as connection:
            yield connection

    def fenced(self) -> AbstractAsyncContextManager[Connection]:
        """Open a transaction that commits only while the lease is held. Raises LeaseLostError."""
        return self._transactions.begin()

    @asynccontextmanager
    async def writing(self, *, reports: bool = True) -> AsyncIterator[Connection]:
        """Open a fenced transaction of the turn's steps. Raises LeaseLostError.

        It begins with the report of the units taken, unless the caller `reports` by itself.
        """
        async with self.fenced() as connection:
            self._units_in_report = self._reported_units
            if reports:
                await self.report(connection)
            yield connection
        self._reported_units = self._units_in_report

    async def report(self, connection: Connection, *, stored: int = 0) -> None:
        """Add the units taken since the last report, and stored messages, to the active sync."""
        taken = self.calls.units_taken
        if taken > self._units_in_report or stored:
            units = taken - self._units_in_report
            await syncs.count(connection, self.mailbox_id, units=units, stored=stored)
        self._units_in_report = taken

    async def call[T](self, units: int, ask: Callable[[], Awaitable[T]], *, live: bool = True) -> T:
        """Take quota and call the provider. Raises QuotaWaitError, also if the call meets a limit."""
        await self.calls.take(units, live=live)
        return await self.call_prepaid(ask)

    async def call_uncounted[T](
        self, units: int, ask: Callable[[], Awaitable[T]], *, patience: float = SHORT_WAIT
    ) -> T:
        """Take quota and call for the mailbox itself, at no expense of the active sync. Raises what `call` raises."""
        with _limits_as_waits():
            return await self.uncounted_calls.call(units, ask, patience=patience)

    async def call_prepaid[T](
        self, ask: Callable[[], Awaitable[T]], *, lost_units: Callable[[T], int] = lambda _: 0
    ) -> T:
        """Call the provider with quota taken before. Raises QuotaWaitError if the call meets a limit."""
        with _limits_as_waits():
            answer = await self.calls.call_prepaid(ask, lost_units=lost_units)
        self.answered = True
        if isinstance(answer, Profile):
            self.profile = answer
        return answer

    def begin_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` while the turn's steps go on, until `end_beside`. It uses `call_uncounted` and `fenced` only."""
        self._beside = asyncio.create_task(work)

    async def end_beside(self, *, cancelled: bool = False) -> None:
        """Wait for the work that was begun beside, if any. Raises its errors, except for lack of quota."""
        task, self._beside = self._beside, None
        if task is None:
            return
        if cancelled:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return
        with suppress(QuotaWaitError):
            await task


@contextmanager
def _limits_as_waits() -> Iterator[None]:
    try:
        yield
    except LimitError as error:
        raise ProviderLimitError(error) from error
