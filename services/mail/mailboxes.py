"""The mailboxes of a user: known from auth, and found by account or by address."""

from typing import Protocol
from uuid import UUID

import structlog

from services.kit.errors import AppError, Kind
from services.mail.model import Account, MailboxOverview, OpenMailbox
from services.mail.store.connection import Pool
from services.mail.store.control import erasures
from services.mail.store.control import mailboxes as store

log = structlog.get_logger()


class Accounts(Protocol):
    """The list of accounts that auth offers."""

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """Return the accounts that the user has connected. Raises AppError."""
        ...


class Mailboxes:
    """The mailboxes of users. Asks auth about accounts that mail does not know yet."""

    def __init__(self, pool: Pool, auth: Accounts) -> None:
        self._pool = pool
        self._auth = auth

    async def overviews(self, user_id: UUID) -> list[MailboxOverview]:
        """Return all mailboxes of the user as auth knows them; while auth is down, as it knew them last."""
        try:
            await self.refresh(user_id)
        except AppError as error:
            if error.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT):
                raise
            log.warning("auth is unavailable, showing known mailboxes")
        async with self._pool.acquire() as connection:
            return await store.overviews(connection, user_id)

    async def refresh(self, user_id: UUID) -> None:
        """Copy the user's accounts from auth; mailboxes whose access is back are due. Raises AppError."""
        accounts = await self._auth.list_accounts(user_id)
        async with self._pool.acquire() as connection, connection.transaction():
            await erasures.hold_off_deletion(connection, user_id)
            await store.revive(connection, accounts)
            await store.upsert(connection, accounts)

    async def find(self, user_id: UUID, *, account_id: UUID | None = None, email: str | None = None) -> OpenMailbox:
        """Return the mailbox with this account or address. Raises AppError mailbox_not_found, ambiguous_address."""
        found = await self._known(user_id, account_id=account_id, email=email)
        if not found:
            await self.refresh(user_id)
            found = await self._known(user_id, account_id=account_id, email=email)
        if not found:
            raise mailbox_not_found()
        if len(found) > 1:
            raise AppError(
                Kind.CONFLICT,
                "ambiguous_address",
                "Several of your mailboxes have this address; name one by mailbox_id.",
            )
        return found[0]

    async def all_of(self, user_id: UUID) -> list[OpenMailbox]:
        """Return the user's mailboxes, oldest first."""
        async with self._pool.acquire() as connection:
            return await store.of_user(connection, user_id)

    async def _known(self, user_id: UUID, *, account_id: UUID | None, email: str | None) -> list[OpenMailbox]:
        async with self._pool.acquire() as connection:
            mailboxes = await store.of_user(connection, user_id)
        if account_id is not None:
            return [mailbox for mailbox in mailboxes if mailbox.account_id == account_id]
        wanted = (email or "").strip().casefold()
        # An address of the past counts where no mailbox has it at present: it may have passed to another account.
        return [mailbox for mailbox in mailboxes if mailbox.email.casefold() == wanted] or [
            mailbox for mailbox in mailboxes if wanted in map(str.casefold, mailbox.former_emails)
        ]


def mailbox_not_found() -> AppError:
    """Return the error for a mailbox that is not, or no longer, the user's."""
    return AppError(Kind.NOT_FOUND, "mailbox_not_found", "You have not connected such a mailbox.")
