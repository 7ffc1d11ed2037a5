"""The loop of a worker process: claim what is due, work on it in slots, wake on triggers."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog

from services.kit.context import start_request
from services.kit.errors import AppError, Kind
from services.mail.model import Lane, MailboxStatus, SyncState
from services.mail.providers.base import AccessDeniedError, Provider, ProviderError
from services.mail.store import mailboxes, schedule, syncs, workers
from services.mail.store.connection import DATABASE_LOST, Connection, Pool
from services.mail.store.schedule import Lease, LeaseLostError
from services.mail.sync import slice as slice_
from services.mail.sync import watches
from services.mail.sync.access_tokens import AccessTokens
from services.mail.sync.disconnect import Eraser
from services.mail.sync.fetch import Retries
from services.mail.sync.observer import INTERNAL, LEASE_LOST, SyncObserver
from services.mail.sync.parallelism import Parallelism
from services.mail.sync.quota import Quota, QuotaWaitError
from services.mail.sync.rest import RestingLooks
from services.mail.sync.run import MailboxRun

# A LISTEN connection can die silently, so the table is looked at this often in any case.
_LOOK_SECONDS = 1.0
# ... and is asked this often whether it is alive.
_PING_SECONDS = 5.0
# Pauses of a mailbox whose turns fail double up to so many seconds.
_LONGEST_BACKOFF = 60.0
# An active sync is reported as failed when its mailbox failed this often in a row; the mailbox is still retried.
_FAILURES_BEFORE_REPORT = 8
# When to look again at a mailbox that needs its user.
_DENIED_SECONDS = 3600.0
# Turns take two. What is cancelled then is done again by another worker.
_DRAIN_SECONDS = 10.0
# How often a worker looks whether watches are kept alive.
_REPORT_SECONDS = 60.0
_RETRIES = Retries()

log = structlog.get_logger()

type ConnectListener = Callable[[], Awaitable[asyncpg.Connection[asyncpg.Record]]]


class Worker:
    """Works on up to `slots` mailboxes at a time, a third of the slots kept for live mail."""

    def __init__(
        self,
        *,
        pool: Pool,
        connect_listener: ConnectListener,
        providers: Mapping[str, Provider],
        quota: Quota,
        parallelism: Parallelism,
        tokens: AccessTokens,
        eraser: Eraser,
        observer: SyncObserver,
        slots: int,
        lease_seconds: float,
        poll_seconds: float,
        verify_seconds: float,
        retries: Retries = _RETRIES,
    ) -> None:
        self._pool = pool
        self._connect_listener = connect_listener
        self._providers = providers
        self._quota = quota
        self._parallelism = parallelism
        self._tokens = tokens
        self._eraser = eraser
        self._observer = observer
        self._slots = slots
        self._kept_for_live = max(1, slots // 3)
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._verify_seconds = verify_seconds
        self._retries = retries
        self._owner = uuid.uuid4()
        self._registered = False
        self._next_take_over = 0.0
        self._wake = asyncio.Event()
        self._resting = RestingLooks(
            pool=pool, providers=providers, quota=quota, tokens=tokens, poll_seconds=poll_seconds
        )
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then lets running turns end. Losing the database means trying again."""
        besides = [asyncio.create_task(task) for task in self._besides(stop)]
        try:
            while not stop.is_set():
                self._wake.clear()
                wait = await self._claim_safely()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)
        finally:
            await self._drain()
            for task in besides:
                task.cancel()
            await asyncio.gather(*besides, return_exceptions=True)

    def _besides(self, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
        return [
            _restarted(self._listen),
            self._wake_on(stop),
            _restarted(lambda: self._look_at_resting(stop)),
            _restarted(self._report),
        ]

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _look_at_resting(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                found = await self._resting.look()
            except DATABASE_LOST as error:
                log.warning("mailboxes at rest not looked at", error=type(error).__name__)
                found = 0
            if found < self._resting.group_size:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _report(self) -> None:
        while True:
            try:
                async with self._pool.acquire() as connection:
                    await watches.report_expiring(connection)
            except DATABASE_LOST as error:
                log.warning("watches not looked at", error=type(error).__name__)
            await asyncio.sleep(_REPORT_SECONDS)

    async def _drain(self) -> None:
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=_DRAIN_SECONDS)
            for task in late:
                task.cancel()

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_until_closed()
            except DATABASE_LOST as error:
                log.warning("listening for triggers failed", error=type(error).__name__)
                await asyncio.sleep(_LOOK_SECONDS)

    async def _listen_until_closed(self) -> None:
        connection = await self._connect_listener()
        closed = asyncio.Event()
        try:
            connection.add_termination_listener(lambda *_: closed.set())
            await connection.add_listener(schedule.CHANNEL, lambda *_: self._wake.set())
            await workers.register(connection, self._owner)
            self._registered = True
            self._wake.set()
            while not closed.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(closed.wait(), _PING_SECONDS)
                if not closed.is_set():
                    await connection.execute("SELECT 1", timeout=_PING_SECONDS)
        finally:
            self._registered = False
            await connection.close(timeout=_PING_SECONDS)

    async def _claim_safely(self) -> float:
        """Starts what is due and free; returns how long to sleep at most."""
        if not self._registered:
            # The others would take its leases for those of a dead worker.
            return _LOOK_SECONDS
        try:
            return await self._claim()
        except DATABASE_LOST as error:
            log.warning("database unavailable", error=type(error).__name__)
            return _LOOK_SECONDS

    async def _claim(self) -> float:
        free = self._slots - len(self._running)
        free_for_backfill = free - self._kept_for_live
        lanes = [lane for lane, room in ((Lane.LIVE, free), (Lane.BACKFILL, free_for_backfill)) if room > 0]
        if not lanes:
            return _LOOK_SECONDS
        async with self._pool.acquire() as connection:
            await self._take_over(connection)
            for lane in lanes:
                room = self._slots - len(self._running) - (self._kept_for_live if lane is Lane.BACKFILL else 0)
                if room > 0:
                    for lease in await schedule.claim(
                        connection,
                        owner=self._owner,
                        lane=lane,
                        limit=room,
                        lease_seconds=self._lease_seconds,
                        backoff_limit=_LONGEST_BACKOFF,
                    ):
                        self._start(lease)
            due_in = await schedule.seconds_until_due(connection, lanes)
        return _LOOK_SECONDS if due_in is None else min(_LOOK_SECONDS, max(0.001, due_in))

    async def _take_over(self, connection: Connection) -> None:
        """Frees what dead workers have left behind, once in a while."""
        if time.monotonic() < self._next_take_over:
            return
        self._next_take_over = time.monotonic() + _LOOK_SECONDS
        if dead := await workers.free_leases_of_dead(connection):
            self._observer.workers_lost.inc(len(dead))
            log.warning("workers died, their mailboxes are free", workers=len(dead))

    def _start(self, lease: Lease) -> None:
        task = asyncio.create_task(self._turn(lease))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()

    async def _turn(self, lease: Lease) -> None:
        start_request(request_id=None)
        structlog.contextvars.bind_contextvars(mailbox_id=lease.mailbox_id)
        async with self._observer.turn(self._pool, lease.mailbox_id) as turn:
            try:
                async with self._kept(lease):
                    await self._work(lease)
            except LeaseLostError:
                turn.outcome = LEASE_LOST
                log.warning("lease lost, another worker goes on")
            except Exception as error:  # noqa: BLE001 - a mailbox must not end the worker, whatever happens in it
                turn.outcome = _reason(error)
                await self._give_back(lease, error)

    @asynccontextmanager
    async def _kept(self, lease: Lease) -> AsyncIterator[None]:
        renewal = asyncio.create_task(self._renew(lease))
        try:
            yield
        finally:
            renewal.cancel()

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            try:
                async with self._pool.acquire() as connection:
                    if not await schedule.renew(connection, lease, lease_seconds=self._lease_seconds):
                        return
            except DATABASE_LOST as error:
                log.warning("lease not renewed", error=type(error).__name__)

    async def _work(self, lease: Lease) -> None:
        async with self._pool.acquire() as connection:
            mailbox = await mailboxes.by_id(connection, lease.mailbox_id)
        if mailbox is None:
            await self._eraser.work(lease)
            return
        run = MailboxRun(
            lease=lease,
            mailbox=mailbox,
            pool=self._pool,
            provider=self._providers[mailbox.provider],
            quota=self._quota,
            parallelism=self._parallelism,
            tokens=self._tokens,
            observer=self._observer,
        )
        release = await slice_.work(
            run, poll_seconds=self._poll_seconds, verify_seconds=self._verify_seconds, retries=self._retries
        )
        async with self._pool.acquire() as connection:
            await schedule.release(connection, lease, lane=release.lane, after=release.after)

    async def _give_back(self, lease: Lease, error: Exception) -> None:
        """Ends a failed turn: the mailbox comes back after a growing while."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await schedule.fence(connection, lease)
                after = await self._record_failure(connection, lease, error)
                await schedule.release_failed(connection, lease, after=after)
        except LeaseLostError:
            log.warning("lease lost, another worker goes on")
        except DATABASE_LOST as lost:
            # The lease runs out by itself.
            log.warning("a failed turn could not be recorded", error=type(lost).__name__)
        except Exception:
            log.exception("a failed turn could not be recorded")

    async def _record_failure(self, connection: Connection, lease: Lease, error: Exception) -> float:
        if isinstance(error, AppError) and error.reason in ("reauth_required", "account_not_found"):
            await mailboxes.set_status(connection, lease.mailbox_id, MailboxStatus.REAUTH_REQUIRED)
            await syncs.end(connection, lease.mailbox_id, SyncState.FAILED, error=error.reason)
            return _DENIED_SECONDS
        if isinstance(error, AccessDeniedError):
            log.warning("provider denies access", detail=error.detail)
            await syncs.end(connection, lease.mailbox_id, SyncState.FAILED, error=error.reason)
            return _DENIED_SECONDS
        reason = _reason(error)
        log.warning(
            "turn failed", reason=reason, attempts=lease.attempts, exc_info=error if reason == INTERNAL else None
        )
        if lease.attempts >= _FAILURES_BEFORE_REPORT:
            await syncs.end(connection, lease.mailbox_id, SyncState.FAILED, error=reason)
        return min(_LONGEST_BACKOFF, self._retries.base_seconds * 2.0 ** min(lease.attempts - 1, 20))


async def _restarted(work: Callable[[], Awaitable[None]]) -> None:
    """Keeps `work` going whatever it raises: a worker that no longer listens would idle for ever without a word."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("a part of the worker failed and begins anew")
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            return


def _reason(error: Exception) -> str:
    if isinstance(error, AppError):
        return error.reason if error.kind is not Kind.INTERNAL else INTERNAL
    if isinstance(error, ProviderError):
        return error.reason
    if isinstance(error, QuotaWaitError):
        return "quota_unavailable"
    if isinstance(error, DATABASE_LOST):
        return "database_unavailable"
    return INTERNAL
