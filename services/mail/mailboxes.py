"""The mailboxes of a user: known from auth, and found by account or by address."""

from typing import Protocol
from uuid import UUID

import structlog

from services.kit.errors import AppError, Kind
from services.mail import events
from services.mail.model import Account, MailboxOverview, MailboxQuery, OpenMailbox, Reach
from services.mail.store.connection import Pool
from services.mail.store.control import erasures, mailbox_overviews
from services.mail.store.control import mailboxes as store

log = structlog.get_logger()


class Accounts(Protocol):
    """The list of accounts that auth offers."""

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """Return the accounts that the user has connected. Raises AppError."""
        ...

    async def list_application_accounts(self, application_id: UUID, *, account_id: UUID | None) -> list[Account]:
        """Return the newest accounts of an application, or the one with this id. Raises AppError."""
        ...


class Mailboxes:
    """The mailboxes of users. Asks auth about accounts that mail does not know yet."""

    def __init__(self, pool: Pool, auth: Accounts) -> None:
        self._pool = pool
        self._auth = auth

    async def overviews(self, query: MailboxQuery) -> list[MailboxOverview]:
        """Return the mailboxes of a user, or those that a key reaches, as auth knows them, oldest first.

        While auth is down, it returns them as auth knew them last. Of an application auth is asked about the newest
        accounts, for the first page.
        """
        try:
            if query.user_id is not None and query.reach is None:
                await self.refresh(query.user_id)
            elif query.reach is not None and not query.after:
                await self.refresh_within(query.reach, account_id=query.account_id)
        except AppError as error:
            if error.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT):
                raise
            log.warning("auth is unavailable, showing known mailboxes")
        async with self._pool.acquire() as connection:
            return await mailbox_overviews.overviews(connection, query)

    async def refresh(self, user_id: UUID, *, signed_in: bool = False) -> None:
        """Copy the user's accounts from auth; mailboxes whose access is back are due. Raises AppError.

        `signed_in` says that the user has just done so: what is worked on with an older grant is due again, too.
        """
        await self._copy(await self._auth.list_accounts(user_id), signed_in=signed_in)

    async def refresh_within(self, reach: Reach, *, account_id: UUID | None, signed_in: bool = False) -> None:
        """Copy the newest accounts of a key's application, or one of them, likewise. Raises AppError."""
        accounts = await self._auth.list_application_accounts(reach.application_id, account_id=account_id)
        await self._copy(accounts, signed_in=signed_in)

    async def find_within(
        self, reach: Reach, *, account_id: UUID | None = None, email: str | None = None
    ) -> OpenMailbox:
        """Return the mailbox within a key's reach. Raises AppError mailbox_not_found, ambiguous_address."""
        found = await self._known_within(reach, account_id=account_id, email=email)
        if not found:
            await self.refresh_within(reach, account_id=account_id)
            found = await self._known_within(reach, account_id=account_id, email=email)
        return _the_one(found)

    async def owner(self, mailbox_id: int, reach: Reach) -> UUID | None:
        """Return the user of a mailbox within a key's reach."""
        async with self._pool.acquire() as connection:
            return await store.owner(connection, mailbox_id, reach)

    async def owner_of_account(self, account_id: UUID, reach: Reach) -> UUID | None:
        """Return the user of an account within a key's reach, also after its disconnection."""
        async with self._pool.acquire() as connection:
            return await store.owner_of_account(connection, account_id, reach)

    async def _known_within(self, reach: Reach, *, account_id: UUID | None, email: str | None) -> list[OpenMailbox]:
        async with self._pool.acquire() as connection:
            if account_id is not None:
                return await store.account_within(connection, reach, account_id)
            return _at_address(await store.address_within(connection, reach, (email or "").strip()), email)

    async def _copy(self, accounts: list[Account], *, signed_in: bool) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            for user_id in sorted({account.user_id for account in accounts}):
                await erasures.hold_off_deletion(connection, user_id)
            await store.revive(connection, accounts, signed_in=signed_in)
            changed = await store.upsert(connection, accounts)
            for each in changed:
                await events.record_access(connection, each)
        async with self._pool.acquire() as connection:
            for each in changed:
                await events.announce(connection, each.mailbox.mailbox_id)

    async def find(self, user_id: UUID, *, account_id: UUID | None = None, email: str | None = None) -> OpenMailbox:
        """Return the mailbox with this account or address. Raises AppError mailbox_not_found, ambiguous_address."""
        found = await self._known(user_id, account_id=account_id, email=email)
        if not found:
            await self.refresh(user_id)
            found = await self._known(user_id, account_id=account_id, email=email)
        return _the_one(found)

    async def all_of(self, user_id: UUID) -> list[OpenMailbox]:
        """Return the user's mailboxes, oldest first."""
        async with self._pool.acquire() as connection:
            return await store.of_user(connection, user_id)

    async def _known(self, user_id: UUID, *, account_id: UUID | None, email: str | None) -> list[OpenMailbox]:
        async with self._pool.acquire() as connection:
            mailboxes = await store.of_user(connection, user_id)
        if account_id is not None:
            return [mailbox for mailbox in mailboxes if mailbox.account_id == account_id]
        return _at_address(mailboxes, email)


def _at_address(mailboxes: list[OpenMailbox], email: str | None) -> list[OpenMailbox]:
    wanted = (email or "").strip().casefold()
    # An address of the past counts where no mailbox has it at present: it may have passed to another account.
    return [mailbox for mailbox in mailboxes if mailbox.email.casefold() == wanted] or [
        mailbox for mailbox in mailboxes if wanted in map(str.casefold, mailbox.former_emails)
    ]


def _the_one(found: list[OpenMailbox]) -> OpenMailbox:
    if not found:
        raise mailbox_not_found()
    if len(found) > 1:
        raise AppError(
            Kind.CONFLICT,
            "ambiguous_address",
            "Several of your mailboxes have this address; name one by mailbox_id.",
        )
    return found[0]


def mailbox_not_found() -> AppError:
    """Return the error for a mailbox that is not, or no longer, the user's."""
    return AppError(Kind.NOT_FOUND, "mailbox_not_found", "You have not connected such a mailbox.")
