"""The loop of a worker process: claims due mailboxes, runs turns in slots, wakes on triggers."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from services.mail.model import Lane
from services.mail.store.connection import DATABASE_LOST, Connection, Pool
from services.mail.store.control import leases, workers
from services.mail.store.control.leases import Lease
from services.mail.sync import watches
from services.mail.sync.idle.check import IdleCheck
from services.mail.sync.listener import PING_SECONDS, SETUP_SECONDS, Connect, Listener
from services.mail.sync.turn import LONGEST_BACKOFF, TurnRunner
from services.mail.sync.turns.metrics import TurnMetrics

# A LISTEN connection can die silently, so the schedule is also read at this interval.
_LOOK_SECONDS = 1.0
# A due mailbox that cannot be claimed is locked by a transaction, which can hang: it is tried again after this time.
_LOCKED_SECONDS = 0.05
# Interval of checks for users to delete.
_DELETIONS_SECONDS = 5.0
# Interval of checks for watches that are not renewed.
_REPORT_SECONDS = 60.0
# How often a worker looks whether there are more mailboxes than can be looked at often enough, after its start.
_MISFIT_SECONDS = 3600.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds that the loop of a worker waits at most."""

    # For the statements of one look at the schedule.
    claim: float = 15.0
    # For running turns at the end: they take two. Another worker repeats those that are cancelled.
    drain: float = 10.0
    # For what is cancelled: it rolls back and returns its connection.
    cancel: float = 5.0
    # To listen for triggers, and for the answer to each ping.
    listen: float = SETUP_SECONDS
    ping: float = PING_SECONDS


DEFAULT_LIMITS = Limits()


class Worker:
    """A worker with up to `slots` turns at a time. `holder` is under which its adapters hold connections.

    A third of the slots is reserved for live mail. Mailboxes whose last turn failed share a quarter of them: an
    unanswered call occupies its slot for seconds.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        connect_listener: Connect,
        turns: TurnRunner,
        idle_check: IdleCheck,
        finish_deletions: Callable[[], Awaitable[None]],
        metrics: TurnMetrics,
        slots: int,
        limits: Limits = DEFAULT_LIMITS,
        holder: UUID | None = None,
    ) -> None:
        self._pool = pool
        self._turns = turns
        self._idle_check = idle_check
        self._finish_deletions = finish_deletions
        self._metrics = metrics
        self._slots = slots
        self._kept_for_live = max(1, slots // 3)
        self._for_failing = max(1, slots // 4)
        self._failing_turns = 0
        self._next_take_over = 0.0
        self._wake = asyncio.Event()
        self._limits = limits
        self._holder = holder
        self._listener = Listener(
            connect_listener,
            wake=self._wake.set,
            cancelled=turns.cancelled,
            metrics=metrics,
            setup_seconds=limits.listen,
            ping_seconds=limits.ping,
        )
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then let running turns end. Reconnects after losing the database."""
        besides = [asyncio.create_task(task) for task in self._besides(stop)]
        try:
            while not stop.is_set():
                self._wake.clear()
                wait = await self._claim_safely()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait)
        finally:
            await self._drain()
            await self._end(besides)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle_check.close(), self._limits.cancel)

    def _besides(self, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
        return [
            _restarted(self._listener.listen),
            self._wake_on(stop),
            _restarted(lambda: self._check_idle(stop)),
            _restarted(self._delete_users),
            _restarted(self._report),
            _restarted(self._report_misfit),
        ]

    async def _wake_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _check_idle(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                more = await self._idle_check.look(owner=self._listener.owner)
            except DATABASE_LOST as error:
                log.warning("idle mailboxes not checked", error=type(error).__name__)
                more = False
            if not more:
                await asyncio.sleep(self._idle_check.pause)

    async def _delete_users(self) -> None:
        while True:
            try:
                await self._finish_deletions()
            except DATABASE_LOST as error:
                log.warning("users not deleted", error=type(error).__name__)
            await asyncio.sleep(_DELETIONS_SECONDS)

    async def _report(self) -> None:
        while True:
            try:
                async with self._pool.acquire() as connection:
                    await watches.report_expiring(connection)
            except DATABASE_LOST as error:
                log.warning("watches not looked at", error=type(error).__name__)
            await asyncio.sleep(_REPORT_SECONDS)

    async def _report_misfit(self) -> None:
        while True:
            try:
                await self._idle_check.report_misfit()
            except DATABASE_LOST as error:
                log.warning("mailboxes not counted", error=type(error).__name__)
            await asyncio.sleep(_MISFIT_SECONDS)

    async def _drain(self) -> None:
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=self._limits.drain)
            if late:
                log.warning("turns cancelled: they did not end in time", turns=len(late))
                self._metrics.waits_given_up.labels("drain").inc()
                await self._end(late)

    async def _end(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """Cancel tasks and wait for their end, but not for ever: one that waits for a silent server is abandoned."""
        for task in tasks:
            task.cancel()
        _, abandoned = await asyncio.wait(tasks, timeout=self._limits.cancel)
        if abandoned:
            log.warning("tasks abandoned: they did not end when they were cancelled", tasks=len(abandoned))
            self._metrics.waits_given_up.labels("drain").inc()

    async def _claim_safely(self) -> float:
        """Start the turns of due mailboxes; return the longest time to sleep."""
        owner = self._listener.owner
        if owner is None:
            # Without an owner id our leases look abandoned.
            return _LOOK_SECONDS
        try:
            async with asyncio.timeout(self._limits.claim):
                return await self._claim(owner)
        except DATABASE_LOST as error:
            log.warning("database unavailable, nothing is claimed", error=type(error).__name__)
            if isinstance(error, TimeoutError):
                self._metrics.waits_given_up.labels("claim").inc()
            return _LOOK_SECONDS

    async def _claim(self, owner: UUID) -> float:
        lanes = [lane for lane in (Lane.LIVE, Lane.BACKFILL) if self._room(lane) > 0]
        if not lanes:
            return _LOOK_SECONDS
        async with self._pool.acquire() as connection:
            await self._take_over(connection)
            claimed = [await self._claim_lane(connection, owner, lane) for lane in lanes]
            due_in = await leases.seconds_until_due(
                connection, lanes, failing=self._room_for_failing() > 0, holder=self._holder
            )
        if due_in is None:
            return _LOOK_SECONDS
        return min(_LOOK_SECONDS, max(0.001 if due_in > 0 or any(claimed) else _LOCKED_SECONDS, due_in))

    def _room(self, lane: Lane) -> int:
        return self._slots - len(self._running) - (self._kept_for_live if lane is Lane.BACKFILL else 0)

    def _room_for_failing(self) -> int:
        return max(0, self._for_failing - self._failing_turns)

    async def _claim_lane(self, connection: Connection, owner: UUID, lane: Lane) -> int:
        """Start the turns of a lane's due mailboxes; return how many were claimed."""
        if self._room(lane) <= 0:
            return 0
        claimed = await leases.claim(
            connection,
            owner=owner,
            lane=lane,
            limit=self._room(lane),
            failing_limit=self._room_for_failing(),
            lease_seconds=self._turns.lease_seconds,
            backoff_limit=LONGEST_BACKOFF,
            holder=self._holder,
        )
        for lease in claimed:
            self._start(lease)
        return len(claimed)

    async def _take_over(self, connection: Connection) -> None:
        """Free the leases of dead workers, at intervals."""
        if time.monotonic() < self._next_take_over:
            return
        self._next_take_over = time.monotonic() + _LOOK_SECONDS
        if dead := await workers.free_leases_of_dead(connection):
            self._metrics.workers_lost.inc(len(dead))
            log.warning("workers died, their mailboxes are free", workers=len(dead))

    def _start(self, lease: Lease) -> None:
        failing = lease.attempts > 1
        self._failing_turns += failing
        task = asyncio.create_task(self._turns.run(lease))
        self._running.add(task)
        task.add_done_callback(partial(self._ended, failing=failing))

    def _ended(self, task: asyncio.Task[None], *, failing: bool) -> None:
        self._failing_turns -= failing
        self._running.discard(task)
        self._wake.set()


async def _restarted(work: Callable[[], Awaitable[None]]) -> None:
    """Restart `work` after any exception: without its listener a worker would be idle for ever."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("a background task of the worker failed, restarting it")
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            return
