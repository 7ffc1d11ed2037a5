"""The loop of a deliverer: finds what waits, and delivers it within its slots. Any number of deliverers may run."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

import structlog

from services.kit.cipher import DecryptionError
from services.mail.deliverer.feed_delivery import FeedDelivery
from services.mail.deliverer.listener import Connect, NewsListener
from services.mail.deliverer.metrics import DelivererMetrics
from services.mail.deliverer.single_delivery import SingleDelivery
from services.mail.deliverer.slots import Slots
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.webhooks import waiting
from services.mail.webhooks.model import Waiting

# Mailboxes of an endpoint that are remembered as waiting; the next look finds more.
_MOST_WAITING = 2_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds between looks, and for what ends."""

    # All feeds are compared with all cursors: finds what news did not tell. Where it finds nothing the next look is
    # later, up to `rest`: at rest looks are most of what webhooks cost.
    look: float = 10.0
    rest: float = 30.0
    # Failed events whose time has come.
    due: float = 1.0
    # News that come together are looked up together.
    gather: float = 0.01
    drain: float = 20.0

    def next_pause(self, pause: float, *, found: bool) -> float:
        """Return the pause after a look that came after `pause`."""
        return self.look if found else min(2 * pause, self.rest)


DEFAULT_TIMING = Timing()


@dataclass(frozen=True, slots=True)
class _Work:
    """A mailbox whose events wait for an endpoint, or a single delivery."""

    endpoint_id: UUID
    number: int
    is_single: bool = False


class Deliverer:
    """Finds what waits, by news and by looking, and delivers it as far as there are `slots`."""

    def __init__(
        self,
        pool: Pool,
        *,
        connect_listener: Connect,
        feeds: FeedDelivery,
        singles: SingleDelivery,
        metrics: DelivererMetrics,
        slots: Slots,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self._pool = pool
        self._feeds = feeds
        self._singles = singles
        self._slots = slots
        # What waits, in the order in which it was found, by endpoint; endpoints take turns.
        self._ready: dict[UUID, dict[_Work, None]] = {}
        self._running: dict[_Work, asyncio.Task[None]] = {}
        self._moved: set[int] = set()
        # Runs during which there was news: they may have read the feed before.
        self._outdated: set[_Work] = set()
        self._has_news = asyncio.Event()
        self._is_to_look = asyncio.Event()
        self._is_due = asyncio.Event()
        self._is_stopping = False
        slots.on_freed(self._start_ready)
        self._timing = timing
        self._listener = NewsListener(
            connect_listener, moved=self._note_moved, look=self._look_soon, due=self._is_due.set, metrics=metrics
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set, then let running tries end. Goes on after losing the database."""
        loops = [
            asyncio.create_task(_restarted(work))
            for work in (self._listener.listen, self._follow_news, self._look_at_all, self._look_at_due)
        ]
        try:
            await stop.wait()
        finally:
            self._is_stopping = True
            await _end(loops)
            await self._drain()

    def _note_moved(self, mailbox_id: int) -> None:
        self._moved.add(mailbox_id)
        self._has_news.set()

    def _look_soon(self) -> None:
        self._is_to_look.set()

    async def _follow_news(self) -> None:
        while True:
            await self._has_news.wait()
            await asyncio.sleep(self._timing.gather)
            self._has_news.clear()
            moved, self._moved = self._moved, set()
            self._outdated.update(work for work in self._running if not work.is_single and work.number in moved)
            try:
                async with self._pool.acquire() as connection:
                    found = await waiting.feeds_of(connection, list(moved))
            except DATABASE_LOST:
                # The next look finds them.
                self._look_soon()
                raise
            self._offer(found)

    async def _look_at_all(self) -> None:
        pause = self._timing.look
        while True:
            self._is_to_look.clear()
            async with self._pool.acquire() as connection:
                found = await waiting.feeds(connection, limit=_MOST_WAITING)
            self._offer(found)
            await self._offer_due()
            has_news = await _is_set(self._is_to_look, within=pause)
            pause = self._timing.next_pause(pause, found=has_news or bool(found))

    async def _look_at_due(self) -> None:
        while True:
            await _is_set(self._is_due, within=self._timing.due)
            self._is_due.clear()
            await self._offer_due()

    async def _offer_due(self) -> None:
        async with self._pool.acquire() as connection:
            found = await waiting.due_feeds(connection, limit=_MOST_WAITING)
            single = await waiting.due_deliveries(connection, limit=_MOST_WAITING)
        self._offer(found)
        self._offer(single, are_single=True)

    def _offer(self, found: Iterable[Waiting], *, are_single: bool = False) -> None:
        for each in found:
            if each.is_failing:
                # That it no longer is tells the next delivery to it: the database does not know of single failures.
                self._slots.note(each.endpoint_id, is_failing=True)
            work = _Work(each.endpoint_id, each.number, is_single=are_single)
            self._ready.setdefault(each.endpoint_id, {})[work] = None
        self._start_ready()

    def _start_ready(self) -> None:
        """Start what waits while there are slots: one of each endpoint in turn."""
        if self._is_stopping:
            return
        has_started = True
        while has_started:
            has_started = False
            for endpoint_id in list(self._ready):
                has_started |= self._start_one(endpoint_id)

    def _start_one(self, endpoint_id: UUID) -> bool:
        """Start the first work of an endpoint that is not under way; return whether there was one, and a slot."""
        if not self._slots.may_take(endpoint_id):
            return False
        ready = self._ready[endpoint_id]
        work = next((each for each in ready if each not in self._running), None)
        if work is None:
            return False
        self._slots.take(endpoint_id)
        del ready[work]
        del self._ready[endpoint_id]
        if ready:
            # Behind the others.
            self._ready[endpoint_id] = ready
        self._running[work] = asyncio.create_task(self._do(work))
        return True

    async def _do(self, work: _Work) -> None:
        goes_on = False
        try:
            if work.is_single:
                outcome = await self._singles.run(work.endpoint_id, work.number)
            else:
                outcome = await self._feeds.run(work.endpoint_id, work.number, is_stopping=lambda: self._is_stopping)
            goes_on = outcome.goes_on
            if outcome.delivered is not None:
                self._slots.note(work.endpoint_id, is_failing=not outcome.delivered)
        except DATABASE_LOST as error:
            # The lease ends, and the next look finds it.
            log.warning("events not delivered: the database is away", error=type(error).__name__)
        except DecryptionError as error:
            log.error("the secret of a webhook does not open", webhook_id=str(work.endpoint_id), reason=str(error))
        except Exception:
            log.exception("events not delivered", webhook_id=str(work.endpoint_id))
        finally:
            del self._running[work]
            if goes_on:
                self._ready.setdefault(work.endpoint_id, {})[work] = None
            if work in self._outdated:
                self._outdated.discard(work)
                self._note_moved(work.number)
            self._slots.give(work.endpoint_id)

    async def _drain(self) -> None:
        running = list(self._running.values())
        if running:
            await asyncio.wait(running, timeout=self._timing.drain)
        await _end(list(self._running.values()))


async def _is_set(event: asyncio.Event, *, within: float) -> bool:
    """Wait for an event for so many seconds; return whether it is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within)
    return event.is_set()


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _restarted(work: Callable[[], Awaitable[None]]) -> None:
    """Restart `work` after any exception: without its loops a deliverer would be idle for ever."""
    while True:
        try:
            await work()
        except DATABASE_LOST as error:
            log.warning("the database is away, nothing is found", error=type(error).__name__)
        except Exception:
            log.exception("a background task of the deliverer failed, restarting it")
        await asyncio.sleep(1)
