"""The events of a feed that wait for an endpoint, from the cursor to the head of the feed."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from services.mail.deliverer.feed_run import FeedRun
from services.mail.ids import PublicIds
from services.mail.store import changes, labels
from services.mail.store.connection import Connection, Pool
from services.mail.store.webhooks import cursors
from services.mail.webhooks.events import EventWriter, type_of
from services.mail.webhooks.model import CursorLease, Event, EventType
from services.mail.webhooks.secrets import EndpointSecrets

# Changes that are read at once. 100 of the largest messages, as lists show them, take 7 MB: too much for 64 runs.
_PAGE = 40
# A mailbox without changes is at the beginning of its feed.
_NO_FEED = changes.Feed(latest=changes.Position(incarnation=0, seq=0), live_from=None)


class FeedReader:
    """Opens claimed cursors and reads their feeds."""

    def __init__(self, pool: Pool, *, ids: PublicIds, secrets: EndpointSecrets, lease_seconds: float) -> None:
        self._pool = pool
        self._ids = ids
        self._secrets = secrets
        self._lease_seconds = lease_seconds

    async def open(self, lease: CursorLease, *, is_stopping: Callable[[], bool]) -> FeedRun | None:
        """Return a run; None if the endpoint is disabled, or the feed is no more. Raises DecryptionError."""
        async with self._pool.acquire() as connection:
            found = await cursors.opened(connection, lease)
        if found is None:
            return None
        writer = EventWriter(
            self._ids, endpoint_id=lease.endpoint_id, mailbox_id=lease.mailbox_id, account_id=found.head.account_id
        )
        return FeedRun(
            lease=lease,
            endpoint=found.endpoint,
            secrets=[self._secrets.decrypt(record, lease.endpoint_id) for record in found.secrets],
            head=found.head,
            writer=writer,
            began=time.monotonic(),
            is_stopping=is_stopping,
            seq=lease.seq or 0,
            previous=(lease.previous_incarnation, lease.previous_seq),
            chain_start=lease.chain_start,
            tries=lease.tries,
        )

    async def pages(self, run: FeedRun) -> AsyncGenerator[Sequence[Event]]:
        """Yield the events that wait, as their changes are now; the caller notes in the run how far it has come."""
        if run.head.disconnected_at is not None:
            if (event := await self._end(run, run.head.disconnected_at)) is not None:
                yield [event]
            return
        async with self._pool.acquire() as connection:
            feed = await changes.feed(connection, run.lease.mailbox_id, after=run.seq) or _NO_FEED
            run.until = feed.latest.seq
            if not await _find_place(connection, run, feed):
                return
        if run.lease.resync_due:
            yield [_resync(run, feed)]
        # Up to the end of the first sync there are events only, unless all is asked for.
        live_from = 0 if run.endpoint.rules.backfill else feed.live_from if feed.live_from is not None else run.until
        while run.seq < run.until:
            page = await self._page(run, live_from=live_from)
            wanted = [change for change in page if run.endpoint.wants(type_of(change))]
            if wanted:
                yield [_event_of(run, change, incarnation=feed.latest.incarnation) for change in wanted]
            run.seq = page[-1].seq if len(page) == _PAGE else run.until
            if run.seq < run.until and not await self._may_go_on(run, is_noted=bool(wanted)):
                return

    async def _page(self, run: FeedRun, *, live_from: int) -> list[changes.Told]:
        mailbox_id = run.lease.mailbox_id
        async with self._pool.acquire() as connection:
            return await changes.to_tell(
                connection,
                mailbox_id,
                account_id=run.head.account_id,
                after=run.seq,
                until=run.until,
                live_from=live_from,
                limit=_PAGE,
                label_names=await labels.names(connection, mailbox_id),
            )

    async def _may_go_on(self, run: FeedRun, *, is_noted: bool) -> bool:
        """Return whether the next page follows. The place is not noted after a page in which nothing was wanted."""
        async with self._pool.acquire() as connection:
            if await changes.first_kept(connection, run.lease.mailbox_id, run.seq) != run.seq + 1:
                # Lost meanwhile: the next run tells it.
                return False
            if is_noted:
                return True
            # Notes the place, and keeps the lease.
            return not run.is_over() and await cursors.skip(
                connection, run.lease, seq=run.seq, lease_seconds=self._lease_seconds
            )

    async def _end(self, run: FeedRun, at: datetime) -> Event | None:
        """Return the last event of a mailbox that is disconnected. What was pending of its mail is dropped."""
        if run.endpoint.wants(EventType.DISCONNECTED):
            head = run.head
            return run.writer.of_end(
                EventType.DISCONNECTED, seq=head.seq, incarnation=head.incarnation, at=at, chain=run.chain()
            )
        async with self._pool.acquire() as connection:
            await cursors.end(connection, run.lease)
        return None


def _event_of(run: FeedRun, change: changes.Told, *, incarnation: int) -> Event:
    """Return the event of a change, and let the next one follow it."""
    chain = run.chain(replayed=change.seq <= run.lease.replayed_until)
    event = run.writer.of_change(change, incarnation=incarnation, chain=chain)
    run.follow(event)
    return event


async def _find_place(connection: Connection, run: FeedRun, feed: changes.Feed) -> bool:
    """Find where a new cursor begins, and whether changes after the cursor are lost; return whether it goes on."""
    lease, latest, first_kept = run.lease, feed.latest, feed.first_kept
    if lease.seq is None or lease.starts_at is not None:
        start = await _start_of(connection, run, feed)
        run.seq, run.previous, run.chain_start = start, (latest.incarnation, start), True
        if not await cursors.begin(connection, lease, seq=start, incarnation=latest.incarnation):
            return False
        first_kept = await changes.first_kept(connection, lease.mailbox_id, start)
    if lease.resync_due or run.seq >= latest.seq or first_kept == run.seq + 1:
        return True
    run.lease = replace(lease, resync_due=True)
    run.seq, run.chain_start, run.tries = latest.seq, True, 0
    return await cursors.require_resync(connection, lease, seq=latest.seq)


async def _start_of(connection: Connection, run: FeedRun, feed: changes.Feed) -> int:
    """Return the number of the change after which a new cursor begins, or one that goes back."""
    lease = run.lease
    start = await changes.last_until(connection, lease.mailbox_id, lease.starts_at or run.endpoint.starts_at)
    if start is None:
        first_kept = await changes.first_kept(connection, lease.mailbox_id, 0)
        start = feed.latest.seq if first_kept is None else first_kept - 1
    return start if lease.seq is None else min(start, lease.seq)


def _resync(run: FeedRun, feed: changes.Feed) -> Event:
    """Return the event that changes are lost: the receiver lists everything, and a chain begins at the present."""
    chain = run.chain() | {"chain_start": True}
    event = run.writer.of_end(
        EventType.RESYNC_REQUIRED,
        seq=run.seq,
        incarnation=feed.latest.incarnation,
        at=datetime.now(UTC),
        chain=chain,
    )
    run.follow(event)
    return event
