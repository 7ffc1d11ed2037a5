"""Disconnecting a mailbox, or all mailboxes of a user: they are hidden at once and erased by a worker."""

from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

import structlog

from services.kit.errors import AppError, Kind
from services.mail.mailboxes import Mailboxes
from services.mail.model import Account, Reach
from services.mail.store import changes
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import erasures as store
from services.mail.store.control import feed_heads, mailboxes
from services.mail.store.webhooks import chains, endpoints

# Users of a deleted application in a round.
_USERS = 100

log = structlog.get_logger()


class Users(Protocol):
    """The accounts and the deletion of users that auth offers."""

    async def delete_user(self, user_id: UUID, *, application_id: UUID | None = None) -> None:
        """Delete a user with everything that auth stores; unknown users succeed. Raises AppError.

        With an application, users of others are unknown.
        """
        ...

    async def list_accounts(self, user_id: UUID) -> list[Account]:
        """Return the accounts that the user has connected. Raises AppError."""
        ...

    async def list_deleted_applications(self) -> list[UUID]:
        """Return the applications whose deletion was requested. Raises AppError."""
        ...

    async def erase_application(self, application_id: UUID) -> bool:
        """Delete some users of such an application; return whether nothing is left. Raises AppError."""
        ...


class Disconnections:
    """Requests to disconnect. They return whether all data is erased: repeat a request to follow the erasure."""

    def __init__(self, pool: Pool, known: Mailboxes, auth: Users) -> None:
        self._pool = pool
        self._mailboxes = known
        self._auth = auth

    async def disconnect(self, user_id: UUID, account_id: UUID) -> bool:
        """Disconnect a mailbox. Raises AppError mailbox_not_found."""
        if (erased := await self._erased(user_id, account_id)) is not None:
            return erased
        mailbox = await self._mailboxes.find(user_id, account_id=account_id)
        async with self._pool.acquire() as connection, connection.transaction():
            await _hide(connection, user_id, mailbox.mailbox_id)
        return bool(await self._erased(user_id, account_id))

    async def is_requested(self, account_id: UUID) -> bool:
        """Return whether the mailbox of an account is being disconnected, or was."""
        async with self._pool.acquire() as connection:
            return await store.is_requested(connection, account_id)

    async def delete_user(self, user_id: UUID) -> bool:
        """Disconnect all mailboxes of a user; auth deletes the user when they are erased."""
        async with self._pool.acquire() as connection, connection.transaction():
            await store.lock_user(connection, user_id)
            await store.request_user(connection, user_id)
            for mailbox in await mailboxes.of_user(connection, user_id):
                await _hide(connection, user_id, mailbox.mailbox_id)
        async with self._pool.acquire() as connection:
            due = await store.user_is_due(connection, user_id)
        if due:
            # Without a mailbox there is no worker to do it.
            await self._auth.delete_user(user_id)
        async with self._pool.acquire() as connection:
            if due:
                await store.end_user(connection, user_id)
            return await store.user_is_deleted(connection, user_id)

    async def delete_user_within(self, user_id: UUID, reach: Reach) -> bool:
        """Delete a user for an API key. Raises AppError user_not_found for a user of another application.

        A user without mailboxes is left to auth, which knows its application.
        """
        accounts = await self._auth.list_accounts(user_id)
        if reach.account_ids is not None or any(account.application_id != reach.application_id for account in accounts):
            raise AppError(Kind.NOT_FOUND, "user_not_found", "There is no such user.")
        if accounts:
            return await self.delete_user(user_id)
        await self._auth.delete_user(user_id, application_id=reach.application_id)
        return True

    async def finish_deletions(self) -> None:
        """Continue interrupted deletions of users, and those that failed because auth was down, and of applications.

        Also disconnects mailboxes that the user has connected meanwhile.
        """
        async with self._pool.acquire() as connection:
            left_over = await store.users_left_over(connection)
        await self._delete_users(left_over)
        try:
            applications = await self._auth.list_deleted_applications()
        except AppError as error:
            log.warning("applications are not deleted yet", reason=error.reason)
            return
        for application_id in applications:
            try:
                await self._delete_application(application_id)
            except AppError as error:
                log.warning(
                    "an application is not deleted yet", application_id=str(application_id), reason=error.reason
                )

    async def _delete_users(self, user_ids: Iterable[UUID]) -> None:
        """Delete users; one that cannot be deleted yet keeps back no other."""
        for user_id in user_ids:
            try:
                await self.delete_user(user_id)
            except AppError as error:
                log.warning("a user is not deleted yet", user_id=str(user_id), reason=error.reason)

    async def _delete_application(self, application_id: UUID) -> None:
        """Delete an application's webhooks, and its users who have mailboxes.

        Auth deletes the other users when all mail is erased.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            # In each round: a request under way may have made one since the last.
            hidden = await endpoints.hide(connection, application_id)
            await chains.interrupt(connection, *hidden)
        async with self._pool.acquire() as connection:
            user_ids = await mailboxes.users_of_application(connection, application_id, limit=_USERS)
        await self._delete_users(user_ids)
        async with self._pool.acquire() as connection:
            is_erased = await store.is_application_erased(connection, application_id)
        if is_erased and await self._auth.erase_application(application_id):
            log.info("application deleted", application_id=str(application_id))

    async def _erased(self, user_id: UUID, account_id: UUID) -> bool | None:
        async with self._pool.acquire() as connection:
            return await store.is_erased(connection, user_id, account_id)


async def _hide(connection: Connection, user_id: UUID, mailbox_id: int) -> None:
    """Hide a mailbox; its disconnection is the last event that webhooks tell of it."""
    if await store.hide(connection, user_id, mailbox_id):
        latest = await changes.position(connection, mailbox_id)
        await feed_heads.end(connection, mailbox_id, seq=latest.seq + 1, incarnation=latest.incarnation)
