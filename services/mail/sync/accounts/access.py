"""Denials of access by providers: counted, reported to auth when they last, and ended by the next success."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from services.kit.errors import AppError
from services.mail import events
from services.mail.model import Denial, Mailbox, MailboxStatus, SyncState, WaitReason
from services.mail.providers.errors import AccessDeniedError
from services.mail.store.connection import Pool
from services.mail.store.control import leases, mailbox_access, schedule, watches
from services.mail.store.control.leases import Lease
from services.mail.store.control.mailbox_access import CountedDenial

# The error of syncs that a lasting denial ends, and the outcome of turns that meet a denial.
ACCESS_DENIED = "access_denied"
# Auth's reason when a policy of the provider refuses a refresh.
_REFRESH_DENIED = "provider_access_denied"

log = structlog.get_logger()


class AccountReports(Protocol):
    """The reports that auth accepts."""

    async def report_account(
        self, account_id: UUID, user_id: UUID, *, access_denied_reason: str | None = None, email: str = ""
    ) -> None:
        """Report whether the provider denies access to an account ("" for no denial), and its address.

        Raises AppError.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a denial counts as lasting, and when a mailbox is tried again. Times are in seconds.

    A single denial can be a temporary error of the provider or of an administrator. A denial lasts after this many
    turns in a row, the first of them this long ago; a confirmed one after `confirmed` turns, however soon.
    """

    denials: int = 3
    seconds: float = 300.0
    confirmed: int = 2
    # The pause before the turn that decides about a confirmed denial.
    confirmed_pause: float = 10.0
    # The pause before the next turn: until the denial lasts, and afterwards.
    pause: float = 60.0
    lasting_pause: float = 900.0


DEFAULT_PATIENCE = Patience()


def denial_of(error: Exception) -> str | None:
    """Return the reason of a denial by the provider, or by auth on its behalf; None for any other error."""
    if isinstance(error, AccessDeniedError):
        return error.denial
    if isinstance(error, AppError) and error.reason == _REFRESH_DENIED:
        return error.metadata.get("denial") or Denial.DENIED
    return None


class MailboxAccess:
    """Records denials and their end. Auth gets each report first: its state is copied to mailboxes at any time."""

    def __init__(self, *, pool: Pool, auth: AccountReports, patience: Patience = DEFAULT_PATIENCE) -> None:
        self._pool = pool
        self._auth = auth
        self._patience = patience

    async def denied(self, lease: Lease, denial: str, *, detail: str, is_confirmed: bool) -> None:
        """End a turn that met a denial. A lasting one fails the active sync. Raises LeaseLostError."""
        async with self._pool.acquire() as connection, connection.transaction():
            # A sign-in since the claim can have brought access: the next turn decides.
            hinted = await leases.fence(connection, lease) != lease.hint_seq
            counted = await mailbox_access.count_denial(connection, lease.mailbox_id)
        lasts = not hinted and self._lasts(counted, is_confirmed=is_confirmed)
        pause = self._patience.confirmed_pause if is_confirmed else self._patience.pause
        log.warning("provider denies access", denial=denial, detail=detail, denials=counted.denials, lasts=lasts)
        if lasts:
            await self._report_denial(counted.mailbox, denial)
        async with self._pool.acquire() as connection, connection.transaction():
            await leases.fence(connection, lease)
            if lasts:
                await events.deny_access(connection, lease.mailbox_id, denial)
                await watches.end(connection, lease.mailbox_id)
                await events.end_sync(connection, lease.mailbox_id, SyncState.FAILED, error=ACCESS_DENIED)
            await leases.release_failed(
                connection,
                lease,
                after=self._patience.lasting_pause if lasts else pause,
                waiting_for=WaitReason.ACCESS,
                error=ACCESS_DENIED,
            )
            await events.announce(connection, lease.mailbox_id)

    def _lasts(self, counted: CountedDenial, *, is_confirmed: bool) -> bool:
        if counted.mailbox.access_denied_reason or (is_confirmed and counted.denials >= self._patience.confirmed):
            return True
        return counted.denials >= self._patience.denials and counted.seconds >= self._patience.seconds

    async def granted(self, lease: Lease, mailbox: Mailbox) -> None:
        """Record that the provider answered a turn's calls.

        Raises LeaseLostError, and AppError if auth cannot be told; a later turn records it then.
        """
        if mailbox.access_denied_reason:
            await self._report_grant(mailbox)
            log.info("provider grants access again")
        if mailbox.access_denied_reason or mailbox.denials or mailbox.status is not MailboxStatus.ACTIVE:
            async with self._pool.acquire() as connection, connection.transaction():
                # Another worker may have met a denial since.
                await leases.fence(connection, lease)
                await events.grant_access(connection, mailbox.mailbox_id)

    async def _report_grant(self, mailbox: Mailbox) -> None:
        try:
            await self._auth.report_account(mailbox.account_id, mailbox.user_id, access_denied_reason="")
        except AppError:
            async with self._pool.acquire() as connection:
                # The next turn would make no call, and so learn nothing about access.
                await schedule.trigger(connection, mailbox.mailbox_id)
            raise

    async def _report_denial(self, mailbox: Mailbox, denial: str) -> None:
        try:
            await self._auth.report_account(mailbox.account_id, mailbox.user_id, access_denied_reason=denial)
        except AppError as error:
            # The next turn reports it again.
            log.warning("a denial could not be reported to auth", reason=error.reason)
