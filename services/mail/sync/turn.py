"""Sync turns: renews the lease during a turn, and releases it afterwards, also after a failure."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog

from services.kit.context import start_request
from services.kit.errors import AppError
from services.mail import events
from services.mail.model import Mailbox, Measure, SyncState, WaitReason
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.quota import QuotaUnavailableError
from services.mail.providers.base import Provider
from services.mail.providers.errors import ProviderError
from services.mail.store.connection import DATABASE_LOST, Connection, Pool
from services.mail.store.control import leases, mailboxes, watches
from services.mail.store.control.leases import Lease, LeaseLostError
from services.mail.sync.accounts import addresses
from services.mail.sync.accounts.access import (
    ACCESS_DENIED,
    DEFAULT_PATIENCE,
    AccountReports,
    MailboxAccess,
    Patience,
    denial_of,
)
from services.mail.sync.erase import Eraser
from services.mail.sync.fenced import FencedTransactions
from services.mail.sync.intervals import Intervals
from services.mail.sync.provider_outages import ProviderOutages
from services.mail.sync.store_fetched import Retries
from services.mail.sync.turn_context import TurnContext
from services.mail.sync.turn_metrics import DONE, INTERNAL, LEASE_LOST, TurnMetrics
from services.mail.sync.turn_steps import NoProgressError, run_turn

# Longest pause in seconds after failed turns.
LONGEST_BACKOFF = 60.0
# Seconds after which a turn is cancelled. Longer than any single call to a provider may take.
LONGEST_TURN = 240.0
# When to look again at a mailbox whose user has to sign in: a sign-in wakes it, this finds what that has missed.
_REAUTH_SECONDS = 900.0
# Seconds after which a turn is logged, and again after each as many more: it hangs in a call or a statement.
LONG_TURN = 30.0
_RETRIES = Retries()
_INTERVALS = Intervals()

log = structlog.get_logger()


class TurnTimeoutError(Exception):
    """A turn exceeded its time limit."""


class TurnRunner:
    """Runs sync turns concurrently. Intervals are in seconds; `verify_seconds` 0 means never."""

    def __init__(
        self,
        *,
        pool: Pool,
        providers: Mapping[str, Provider],
        access: ProviderAccess,
        auth: AccountReports,
        eraser: Eraser,
        metrics: TurnMetrics,
        outages: ProviderOutages,
        lease_seconds: float,
        poll_seconds: float,
        verify_seconds: float,
        retries: Retries = _RETRIES,
        longest_turn: float = LONGEST_TURN,
        long_turn: float = LONG_TURN,
        intervals: Intervals = _INTERVALS,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        self._pool = pool
        self._providers = providers
        self._access = access
        self._eraser = eraser
        self._metrics = metrics
        self._outages = outages
        self.lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._verify_seconds = verify_seconds
        self._retries = retries
        self._longest_turn = longest_turn
        self._long_turn = long_turn
        self._under_way: dict[Lease, TurnContext] = {}
        self._intervals = intervals
        self._auth = auth
        self._mailbox_access = MailboxAccess(pool=pool, auth=auth, patience=patience)

    async def run(self, lease: Lease) -> None:
        """Run a turn with the mailbox of a claimed lease. Raises nothing."""
        start_request(request_id=None)
        structlog.contextvars.bind_contextvars(mailbox_id=lease.mailbox_id)
        async with self._metrics.turn(self._pool, lease.mailbox_id) as turn:
            try:
                async with self._renewed(lease):
                    turn.outcome = await self._work(lease)
            except LeaseLostError:
                turn.outcome = LEASE_LOST
                log.warning("lease lost, another worker goes on")
            except Exception as error:  # noqa: BLE001 - one mailbox must not end the worker
                turn.outcome = _reason(error)
                await self._give_back(lease, error)

    def cancelled(self, mailbox_id: int) -> None:
        """Let the mailbox's turn look whether its sync is still active before it requests more messages."""
        for lease, context in self._under_way.items():
            if lease.mailbox_id == mailbox_id:
                context.is_cancelled = True

    @asynccontextmanager
    async def _renewed(self, lease: Lease) -> AsyncIterator[None]:
        """Renew the lease during the block, and cancel the block when the lease is lost.

        Without the lease a turn must not call the provider: it can store nothing, and another worker calls too. Raises
        LeaseLostError, TurnTimeoutError.
        """
        try:
            async with asyncio.timeout(self._longest_turn) as scope:
                renewal = asyncio.create_task(self._renew(lease, scope))
                try:
                    yield
                finally:
                    renewal.cancel()
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise (LeaseLostError if renewal.done() else TurnTimeoutError) from error

    async def _renew(self, lease: Lease, scope: asyncio.Timeout) -> None:
        """Renew until the lease is lost, or expired while the database was unreachable; then cancel the scope."""
        began = renewed = time.monotonic()
        pause = self.lease_seconds / 3
        told = 0
        while time.monotonic() - renewed < self.lease_seconds:
            await asyncio.sleep(pause)
            if (periods := int((time.monotonic() - began) / self._long_turn)) > told:
                told = periods
                self._tell_of_long_turn(lease, time.monotonic() - began)
            try:
                async with asyncio.timeout(pause), self._pool.acquire() as connection:
                    if not await leases.renew(connection, lease, lease_seconds=self.lease_seconds):
                        break
                renewed = time.monotonic()
            except DATABASE_LOST as error:
                log.warning("lease not renewed", error=type(error).__name__)
        scope.reschedule(asyncio.get_running_loop().time())

    def _tell_of_long_turn(self, lease: Lease, seconds: float) -> None:
        context = self._under_way.get(lease)
        log.warning("a turn takes long", seconds=round(seconds, 1), step="" if context is None else context.step)

    async def _work(self, lease: Lease) -> str:
        """Run the turn; return its outcome."""
        async with self._pool.acquire() as connection:
            mailbox = await mailboxes.by_id(connection, lease.mailbox_id)
        if mailbox is None:
            await self._eraser.work(lease)
            return DONE
        provider = self._providers[mailbox.provider]
        transactions = FencedTransactions(self._pool, lease)
        async with self._access.open(provider, mailbox, writing=transactions.begin) as session:
            context = TurnContext(
                transactions=transactions,
                mailbox=mailbox,
                provider=provider,
                session=session,
                access=self._access,
                metrics=self._metrics,
                intervals=self._intervals,
            )
            with self._outages.asking(mailbox.provider, mailbox.mailbox_id):
                return await self._run(context, mailbox)

    async def _run(self, context: TurnContext, mailbox: Mailbox) -> str:
        lease = context.lease
        self._under_way[lease] = context
        try:
            release = await run_turn(
                context, poll_seconds=self._poll_seconds, verify_seconds=self._verify_seconds, retries=self._retries
            )
        finally:
            del self._under_way[lease]
        if context.answered:
            self._outages.answered(mailbox.provider)
            await self._mailbox_access.granted(lease, mailbox)
            await addresses.learn(context, mailbox, auth=self._auth)
        async with self._pool.acquire() as connection:
            changes = await events.announce(connection, lease.mailbox_id)
            await leases.release(
                connection,
                lease,
                lane=release.lane,
                after=release.after,
                waiting_for=release.waiting_for,
                error=release.error,
            )
        self._access.usage.count(lease.mailbox_id, Measure.CHANGES, changes)
        return release.error or DONE

    async def _give_back(self, lease: Lease, error: Exception) -> None:
        """Release the lease of a failed turn; the mailbox is due again after a growing pause."""
        try:
            if (denial := denial_of(error)) is not None:
                await self._mailbox_access.denied(lease, denial, detail=str(error))
                return
            async with self._pool.acquire() as connection, connection.transaction():
                hinted = await leases.fence(connection, lease) != lease.hint_seq
                after, waiting_for = await self._record_failure(connection, lease, error, hinted=hinted)
                await leases.release_failed(
                    connection, lease, after=after, waiting_for=waiting_for, error=_reason(error)
                )
                changes = await events.announce(connection, lease.mailbox_id)
            self._access.usage.count(lease.mailbox_id, Measure.CHANGES, changes)
        except LeaseLostError:
            log.warning("lease lost, another worker goes on")
        except DATABASE_LOST as lost:
            # The lease will expire.
            log.warning("a failed turn could not be recorded", error=type(lost).__name__)
        except Exception:
            log.exception("a failed turn could not be recorded")

    async def _record_failure(
        self, connection: Connection, lease: Lease, error: Exception, *, hinted: bool
    ) -> tuple[float, WaitReason]:
        """Log and store a failure; return the pause before the next turn, and its reason.

        Only an end of access ends the active sync. After any other error it stays active and shows the error. A turn
        that was `hinted` since its claim can have met a grant that a sign-in has replaced: the next one decides.
        """
        if _is_end_of_access(error) and not hinted:
            await events.require_reauth(connection, lease.mailbox_id)
            await watches.end(connection, lease.mailbox_id)
            await events.end_sync(connection, lease.mailbox_id, SyncState.FAILED, error=_reason(error))
            return _REAUTH_SECONDS, WaitReason.ACCESS
        reason = _reason(error)
        log.warning(
            "turn failed", reason=reason, attempts=lease.attempts, exc_info=error if reason == INTERNAL else None
        )
        after = min(LONGEST_BACKOFF, self._retries.base_seconds * 2.0 ** min(lease.attempts - 1, 20))
        if isinstance(error, NoProgressError):
            after = max(after, error.seconds)
        return after, _wait_reason(error)


def _is_end_of_access(error: Exception) -> bool:
    return isinstance(error, AppError) and error.reason in ("reauth_required", "account_not_found")


def _wait_reason(error: Exception) -> WaitReason:
    if _is_end_of_access(error):
        return WaitReason.ACCESS
    if isinstance(error, QuotaUnavailableError):
        return WaitReason.QUOTA_SERVICE
    if isinstance(error, NoProgressError):
        return WaitReason.QUOTA
    if isinstance(error, ProviderError | TurnTimeoutError):
        return WaitReason.PROVIDER
    return WaitReason.MAILROOM


def _reason(error: Exception) -> str:
    if denial_of(error) is not None:
        return ACCESS_DENIED
    if isinstance(error, AppError):
        return error.reason
    if isinstance(error, ProviderError):
        return error.reason
    if isinstance(error, QuotaUnavailableError):
        return "quota_unavailable"
    if isinstance(error, TurnTimeoutError):
        return "turn_timeout"
    if isinstance(error, NoProgressError):
        return "no_progress"
    if isinstance(error, DATABASE_LOST):
        return "database_unavailable"
    return INTERNAL
