"""Sync turns: runs the steps under a lease, and releases it afterwards, also after a failure."""

from collections.abc import Mapping
from functools import partial

import structlog

from services.kit.context import start_request
from services.mail import events
from services.mail.model import Mailbox, Measure, SyncState
from services.mail.provider_access.calls import ProviderAccess
from services.mail.provider_access.outages import ProviderOutages
from services.mail.providers.base import Provider
from services.mail.providers.errors import ConfirmedDenialError
from services.mail.store.connection import DATABASE_LOST, Connection, Pool
from services.mail.store.control import leases, mailboxes, watches
from services.mail.store.control.leases import Lease, LeaseLostError
from services.mail.sync.accounts import addresses
from services.mail.sync.accounts.access import DEFAULT_PATIENCE, AccountReports, MailboxAccess, Patience
from services.mail.sync.erase import Eraser
from services.mail.sync.fenced import FencedTransactions
from services.mail.sync.intervals import Intervals
from services.mail.sync.store_fetched import Retries
from services.mail.sync.turn_context import TurnContext
from services.mail.sync.turn_steps import Release, run_turn
from services.mail.sync.turns.failure import Failure, failure_of
from services.mail.sync.turns.lease_renewal import LONG_TURN, LONGEST_TURN, LeaseRenewal
from services.mail.sync.turns.metrics import DONE, INTERNAL, LEASE_LOST, TurnMetrics

# Longest pause in seconds after failed turns.
LONGEST_BACKOFF = 60.0
# When to look again at a mailbox whose user has to sign in: a sign-in wakes it, this finds what that has missed.
_REAUTH_SECONDS = 900.0
_RETRIES = Retries()
_INTERVALS = Intervals()

log = structlog.get_logger()


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
        self._renewal = LeaseRenewal(pool, lease_seconds=lease_seconds, longest_turn=longest_turn, long_turn=long_turn)
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
                async with self._renewal.during(lease, step=partial(self._step_of, lease)):
                    turn.outcome = await self._work(lease)
            except LeaseLostError:
                turn.outcome = LEASE_LOST
                log.warning("lease lost, another worker goes on")
            except Exception as error:  # noqa: BLE001 - one mailbox must not end the worker
                failure = failure_of(error)
                turn.outcome = failure.outcome
                await self._give_back(lease, error, failure)

    def cancelled(self, mailbox_id: int) -> None:
        """Let the mailbox's turn look whether its sync is still active before it requests more messages."""
        for lease, context in self._under_way.items():
            if lease.mailbox_id == mailbox_id:
                context.is_cancelled = True

    def _step_of(self, lease: Lease) -> str:
        context = self._under_way.get(lease)
        return "" if context is None else context.step

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
            with self._outages.asking(mailbox.provider, mailbox.mailbox_id, has_failed=lease.attempts > 1):
                release = await self._take_steps(context)
                await self._learn_of_account(context, mailbox)
                await self._release(lease, release)
                return release.error or DONE

    async def _take_steps(self, context: TurnContext) -> Release:
        self._under_way[context.lease] = context
        try:
            return await run_turn(
                context, poll_seconds=self._poll_seconds, verify_seconds=self._verify_seconds, retries=self._retries
            )
        finally:
            del self._under_way[context.lease]

    async def _learn_of_account(self, context: TurnContext, mailbox: Mailbox) -> None:
        """Record that the provider grants access, and the address that it gives, if it has answered the turn."""
        if context.answered:
            self._outages.answered(mailbox.provider)
            await self._mailbox_access.granted(context.lease, mailbox)
            await addresses.learn(context, mailbox, auth=self._auth)

    async def _release(self, lease: Lease, release: Release) -> None:
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

    async def _give_back(self, lease: Lease, error: Exception, failure: Failure) -> None:
        """Release the lease of a failed turn; the mailbox is due again after a growing pause."""
        try:
            if failure.denial is not None:
                await self._mailbox_access.denied(
                    lease,
                    failure.denial,
                    detail=str(error),
                    is_confirmed=isinstance(error, ConfirmedDenialError),
                )
            else:
                await self._release_failed(lease, error, failure)
        except LeaseLostError:
            log.warning("lease lost, another worker goes on")
        except DATABASE_LOST as lost:
            # The lease will expire.
            log.warning("a failed turn could not be recorded", error=type(lost).__name__)
        except Exception:
            log.exception("a failed turn could not be recorded")

    async def _release_failed(self, lease: Lease, error: Exception, failure: Failure) -> None:
        """Release the lease after a failure.

        Only an end of access ends the active sync. After any other error it stays active and shows the error. A turn
        that was hinted since its claim can have met a grant that a sign-in has replaced: the next one decides.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            hinted = await leases.fence(connection, lease) != lease.hint_seq
            if failure.ends_access and not hinted:
                log.warning("access has ended, the user has to sign in again", reason=failure.outcome)
                await _end_access(connection, lease.mailbox_id, failure.outcome)
                after = _REAUTH_SECONDS
            else:
                _log_failure(lease, error, failure)
                after = max(self._backoff(lease), failure.pause)
            await leases.release_failed(
                connection,
                lease,
                after=after,
                waiting_for=failure.waiting_for,
                error=failure.outcome,
                is_attempt=failure.is_attempt,
            )
            changes = await events.announce(connection, lease.mailbox_id)
        self._access.usage.count(lease.mailbox_id, Measure.CHANGES, changes)

    def _backoff(self, lease: Lease) -> float:
        return min(LONGEST_BACKOFF, self._retries.base_seconds * 2.0 ** min(lease.attempts - 1, 20))


async def _end_access(connection: Connection, mailbox_id: int, reason: str) -> None:
    """Record that the user has to sign in again; the active sync ends with the reason."""
    await events.require_reauth(connection, mailbox_id)
    await watches.end(connection, mailbox_id)
    await events.end_sync(connection, mailbox_id, SyncState.FAILED, error=reason)


def _log_failure(lease: Lease, error: Exception, failure: Failure) -> None:
    is_bug = failure.outcome == INTERNAL
    log.warning("turn failed", reason=failure.outcome, attempts=lease.attempts, exc_info=error if is_bug else None)
