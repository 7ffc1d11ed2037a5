"""Erasure of a disconnected mailbox in repeatable steps: a worker that dies loses nothing."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

import structlog

from services.mail.model import Lane, Mailbox
from services.mail.provider_access.calls import ProviderAccess
from services.mail.providers.base import Provider
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import erasures as store
from services.mail.store.control import leases
from services.mail.store.control import watches as watch_store
from services.mail.store.control.leases import Lease, LeaseLostError
from services.mail.sync import watches
from services.mail.sync.fenced import FencedTransactions

# Seconds after which a turn ends, so that other mailboxes get theirs.
_MAX_SECONDS = 2.0
_STOP_SECONDS = 10.0
_BATCH = 500

log = structlog.get_logger()


class AccountDeletion(Protocol):
    """The deletions that auth offers. Both are idempotent and raise AppError."""

    async def disconnect_account(self, account_id: UUID, user_id: UUID) -> None:
        """Revoke the grant at the provider and delete the tokens."""
        ...

    async def delete_user(self, user_id: UUID) -> None:
        """Delete a user with everything that auth stores."""
        ...


class Eraser:
    """Erases hidden mailboxes."""

    def __init__(
        self,
        *,
        pool: Pool,
        auth: AccountDeletion,
        providers: Mapping[str, Provider],
        access: ProviderAccess,
        batch: int = _BATCH,
    ) -> None:
        self._pool = pool
        self._auth = auth
        self._providers = providers
        self._access = access
        self._batch = batch

    async def work(self, lease: Lease) -> None:
        """Run a turn. Raises LeaseLostError, also if the mailbox is not hidden, and auth's errors."""
        async with self._pool.acquire() as connection:
            found = await store.pending(connection, lease.mailbox_id)
        if found is None:
            raise LeaseLostError
        if not found.revoked:
            await self._give_up_access(lease, found.mailbox)
        if await self._erase(lease):
            await self._end(lease, found.mailbox)
        else:
            async with self._pool.acquire() as connection:
                await leases.release(connection, lease, lane=Lane.BACKFILL, after=0)

    async def _give_up_access(self, lease: Lease, mailbox: Mailbox) -> None:
        async with self._pool.acquire() as connection:
            is_shared = await watch_store.is_shared(connection, mailbox.mailbox_id)
        if not is_shared:
            await self._stop_watch(mailbox)
        await self._auth.disconnect_account(mailbox.account_id, mailbox.user_id)
        self._access.tokens.forget(mailbox)
        async with self._writing(lease) as connection:
            # Another application may have connected the account before the watch was stopped, which was one for both.
            await watch_store.remake_others(connection, mailbox.mailbox_id)
            await store.set_revoked(connection, mailbox.mailbox_id)

    async def _stop_watch(self, mailbox: Mailbox) -> None:
        try:
            provider = self._providers[mailbox.provider]
            async with asyncio.timeout(_STOP_SECONDS), self._access.open(provider, mailbox, writing=None) as session:
                await watches.end(self._access.calls(mailbox), provider=provider, session=session)
        except Exception as error:  # noqa: BLE001 - nothing that has to do with announcements may keep a grant alive
            log.warning("watch not stopped", error=type(error).__name__)

    async def _erase(self, lease: Lease) -> bool:
        """Erase data until the turn's time is over; return whether none is left."""
        deadline = time.monotonic() + _MAX_SECONDS
        while time.monotonic() < deadline:
            async with self._writing(lease) as connection:
                if not await store.erase_some(connection, lease.mailbox_id, self._batch):
                    await store.set_erased(connection, lease.mailbox_id)
                    return True
        return False

    async def _end(self, lease: Lease, mailbox: Mailbox) -> None:
        if await self._end_mailbox(lease, mailbox):
            return
        await self._auth.delete_user(mailbox.user_id)
        async with self._pool.acquire() as connection:
            await store.end_user(connection, mailbox.user_id)
        await self._end_mailbox(lease, mailbox)

    async def _end_mailbox(self, lease: Lease, mailbox: Mailbox) -> bool:
        """Delete the mailbox; return false, without a change, if its user must be deleted first."""
        async with self._writing(lease) as connection:
            await store.lock_user(connection, mailbox.user_id)
            if await store.user_is_due(connection, mailbox.user_id):
                return False
            messages = await store.end(connection, mailbox.mailbox_id)
        log.info("mailbox disconnected", account_id=str(mailbox.account_id), messages=messages)
        return True

    def _writing(self, lease: Lease) -> AbstractAsyncContextManager[Connection]:
        return FencedTransactions(self._pool, lease).begin()
