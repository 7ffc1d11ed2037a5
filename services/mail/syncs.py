"""Syncs: requests, progress, cancellation and retries."""

import asyncio
import time
from dataclasses import replace
from uuid import UUID

from services.kit.errors import AppError, Kind
from services.kit.observe.tracing import trace_parent
from services.mail import events
from services.mail.ids import PublicId
from services.mail.mailboxes import Mailboxes
from services.mail.model import Mailbox, MailboxStatus, SyncReport, SyncState
from services.mail.store.connection import Connection, Pool
from services.mail.store.control import schedule, sync_requests
from services.mail.store.control.sync_requests import SyncRequest
from services.mail.store.sync import fetch_queue, sync_state, verification
from services.mail.store.sync import syncs as store

LARGEST_COUNT = 1_000_000
LONGEST_WAIT = 60
# Requests with a key of a user that are remembered: each one is a row for 24 hours.
MOST_KEYS = 10_000
# Retry-After beyond them.
_KEYS_RETRY_SECONDS = 600
# Seconds between two reads of a sync that a call waits for.
_LOOK_SECONDS = 0.1


async def _start(connection: Connection, mailbox_id: int, newest_count: int | None) -> int:
    hint_seq = await schedule.trigger(connection, mailbox_id)
    await sync_state.ensure(connection, mailbox_id)
    sync = await store.start(
        connection, mailbox_id, newest_count=newest_count, hint_seq=hint_seq, trace_parent=trace_parent()
    )
    return sync.sync_id


class Syncs:
    """Starts syncs, which workers run, and reports on them. Waiting calls return once `stop` is set."""

    def __init__(self, pool: Pool, mailboxes: Mailboxes, *, stop: asyncio.Event) -> None:
        self._pool = pool
        self._mailboxes = mailboxes
        self._stop = stop

    async def start(self, mailbox: Mailbox, *, newest_count: int | None, idempotency_key: str = "") -> SyncReport:
        """Start a sync of the newest messages (None for all), or widen the active one.

        A request with the key of an earlier one of the last 24 hours returns its sync, as it is now. Raises AppError
        invalid_count, reauth_required, idempotency_key_reused, too_many_requests.
        """
        if newest_count is not None and not 1 <= newest_count <= LARGEST_COUNT:
            raise AppError(Kind.INVALID, "invalid_count", f"count is 1 to {LARGEST_COUNT:,}, or all.")
        if idempotency_key:
            request = SyncRequest(
                user_id=mailbox.user_id,
                key=idempotency_key,
                mailbox_id=mailbox.mailbox_id,
                newest_count=newest_count,
            )
            sync_id = await self._once(request, mailbox)
        else:
            mailbox = await self._with_access(mailbox)
            async with self._pool.acquire() as connection, connection.transaction():
                sync_id = await _start(connection, mailbox.mailbox_id, newest_count)
        return await self.get(mailbox.user_id, PublicId(mailbox.mailbox_id, sync_id), wait_seconds=0)

    async def _once(self, request: SyncRequest, mailbox: Mailbox) -> int:
        """Start the sync of a request with a key, or return the sync of the first one that had it."""
        async with self._pool.acquire() as connection:
            earlier = await sync_requests.find(connection, request.user_id, request.key)
            if earlier is None and await sync_requests.count(connection, request.user_id, most=MOST_KEYS) >= MOST_KEYS:
                raise _too_many_keys()
        if earlier is None:
            await self._with_access(mailbox)
            async with self._pool.acquire() as connection, connection.transaction():
                if await sync_requests.claim(connection, request):
                    sync_id = await _start(connection, request.mailbox_id, request.newest_count)
                    await sync_requests.answer(connection, request, sync_id=sync_id)
                    return sync_id
                earlier = await sync_requests.find(connection, request.user_id, request.key)
        if earlier is None or earlier.request != request:
            raise AppError(
                Kind.CONFLICT, "idempotency_key_reused", "Another request had this Idempotency-Key; use a new one."
            )
        return earlier.sync_id

    async def verify(self, mailbox: Mailbox) -> SyncReport:
        """Start a sync that compares ids and labels with the provider's, or make the active one do so.

        Differences are counted and repaired. Raises AppError nothing_to_verify, reauth_required.
        """
        mailbox = await self._with_access(mailbox)
        async with self._pool.acquire() as connection, connection.transaction():
            hint_seq = await schedule.trigger(connection, mailbox.mailbox_id)
            sync_id = await verification.request(
                connection, mailbox.mailbox_id, hint_seq=hint_seq, trace_parent=trace_parent()
            )
            if sync_id is None:
                raise AppError(Kind.CONFLICT, "nothing_to_verify", "Nothing of this mailbox has been copied yet.")
        return await self.get(mailbox.user_id, PublicId(mailbox.mailbox_id, sync_id), wait_seconds=0)

    async def cancel(self, user_id: UUID, sync_id: PublicId | None) -> SyncReport:
        """Cancel a sync; stored messages stay. An ended sync does not change.

        A worker in a provider's call notices at its next step. The coverage is reset to what was fetched, so that a
        later sync lists again. Raises AppError sync_not_found.
        """
        sync = (await self._report(user_id, sync_id)).sync
        async with self._pool.acquire() as connection, connection.transaction():
            await schedule.lock(connection, sync.mailbox_id)
            active = await store.active(connection, sync.mailbox_id)
            if active is not None and active.sync_id == sync.sync_id:
                await events.end_sync(connection, sync.mailbox_id, SyncState.CANCELLED)
                await sync_state.cancel_listing(connection, sync.mailbox_id)
                await fetch_queue.drop_backfill(connection, sync.mailbox_id)
                await schedule.announce_cancelled(connection, sync.mailbox_id)
        return await self.get(user_id, sync_id, wait_seconds=0)

    async def retry(self, user_id: UUID, sync_id: PublicId | None) -> SyncReport:
        """Queue the mailbox's dead letters again and start a sync of the same coverage, or widen the active one.

        Raises AppError sync_not_found, reauth_required.
        """
        report = await self._report(user_id, sync_id)
        mailbox = await self._with_access(report.mailbox)
        async with self._pool.acquire() as connection, connection.transaction():
            hint_seq = await schedule.trigger(connection, mailbox.mailbox_id)
            await fetch_queue.retry_dead_letters(connection, mailbox.mailbox_id)
            wanted = report.sync.newest_count
            sync = await store.start(
                connection,
                mailbox.mailbox_id,
                newest_count=wanted,
                hint_seq=hint_seq,
                trace_parent=trace_parent(),
            )
        return await self.get(user_id, PublicId(sync.mailbox_id, sync.sync_id), wait_seconds=0)

    async def _with_access(self, mailbox: Mailbox) -> Mailbox:
        return await self._look_again(mailbox) if mailbox.status is MailboxStatus.REAUTH_REQUIRED else mailbox

    async def _look_again(self, mailbox: Mailbox) -> Mailbox:
        await self._mailboxes.refresh(mailbox.user_id)
        mailbox = await self._mailboxes.find(mailbox.user_id, account_id=mailbox.account_id)
        if mailbox.status is MailboxStatus.REAUTH_REQUIRED:
            raise AppError(Kind.CONFLICT, "reauth_required", "The provider no longer grants access; sign in again.")
        return mailbox

    async def get(self, user_id: UUID, sync_id: PublicId | None, *, wait_seconds: float) -> SyncReport:
        """Return the report of a sync; wait up to `wait_seconds` for its end. Raises AppError sync_not_found."""
        if sync_id is not None and wait_seconds > 0:
            await self._wait(user_id, sync_id, deadline=time.monotonic() + min(wait_seconds, LONGEST_WAIT))
        return await self._report(user_id, sync_id)

    async def _wait(self, user_id: UUID, sync_id: PublicId, *, deadline: float) -> None:
        """Wait until the sync has ended: a report counts the queue, which is too expensive for each poll."""
        while not self._stop.is_set():
            async with self._pool.acquire() as connection:
                if not await store.is_active(connection, user_id, sync_id.mailbox_id, sync_id.local_id):
                    return
            if time.monotonic() + _LOOK_SECONDS > deadline:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _report(self, user_id: UUID, sync_id: PublicId | None) -> SyncReport:
        report = None
        if sync_id is not None:
            async with self._pool.acquire() as connection:
                report = await store.report(connection, user_id, sync_id.mailbox_id, sync_id.local_id)
                if report is not None and report.sync.ended_at is None:
                    report = replace(report, wait=await schedule.wait_of(connection, sync_id.mailbox_id))
        if report is None:
            raise AppError(Kind.NOT_FOUND, "sync_not_found", "There is no such sync.")
        return report


def _too_many_keys() -> AppError:
    return AppError(
        Kind.RATE_LIMITED,
        "too_many_requests",
        f"More than {MOST_KEYS:,} idempotency keys in 24 hours.",
        {"retry_after": str(_KEYS_RETRY_SECONDS)},
    )
