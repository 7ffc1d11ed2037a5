"""A user's mailboxes: known from auth, named by account or by address."""

from typing import Protocol
from uuid import UUID

import structlog

from services.kit.errors import AppError, Kind
from services.mail.model import Account, MailboxOverview, OpenMailbox
from services.mail.store.connection import Pool
from services.mail.store.control import mailboxes as store

log = structlog.get_logger()


class Accounts(Protocol):
    """What is asked of auth."""

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """The accounts that the user has connected. Raises AppError."""
        ...


class Mailboxes:
    """Finds mailboxes, asking auth about accounts that mail has not heard of yet."""

    def __init__(self, pool: Pool, auth: Accounts) -> None:
        self._pool = pool
        self._auth = auth

    async def overviews(self, user_id: UUID) -> list[MailboxOverview]:
        """All mailboxes of the user, as auth knows them now; while auth is down, as it knew them last."""
        try:
            await self.refresh(user_id)
        except AppError as error:
            if error.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT):
                raise
            log.warning("auth is unavailable, showing known mailboxes")
        async with self._pool.acquire() as connection:
            return await store.overviews(connection, user_id)

    async def refresh(self, user_id: UUID) -> None:
        """Copies the user's accounts from auth; mailboxes whose access is back are due. Raises AppError."""
        accounts = await self._auth.list_accounts(user_id)
        async with self._pool.acquire() as connection, connection.transaction():
            await store.revive(connection, accounts)
            await store.upsert(connection, accounts)

    async def find(self, user_id: UUID, *, account_id: UUID | None = None, email: str | None = None) -> OpenMailbox:
        """The one mailbox of the user that is meant. Raises AppError mailbox_not_found, ambiguous_address."""
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
                "Several of your accounts have this address; name one by account_id.",
            )
        return found[0]

    async def _known(self, user_id: UUID, *, account_id: UUID | None, email: str | None) -> list[OpenMailbox]:
        async with self._pool.acquire() as connection:
            mailboxes = await store.of_user(connection, user_id)
        if account_id is not None:
            return [mailbox for mailbox in mailboxes if mailbox.account_id == account_id]
        wanted = (email or "").strip().casefold()
        return [mailbox for mailbox in mailboxes if mailbox.email.casefold() == wanted]


def mailbox_not_found() -> AppError:
    """What is said of a mailbox that is not, or no longer, the user's."""
    return AppError(Kind.NOT_FOUND, "mailbox_not_found", "You have not connected such a mailbox.")
