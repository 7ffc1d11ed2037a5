"""The delivery of a mailbox's events to an endpoint, one after the other, from the cursor to the head of the feed."""

import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import structlog

from services.kit.cipher import DecryptionError
from services.mail.deliverer.metrics import DELIVERED, FAILED, LOST, PARKED, DelivererMetrics
from services.mail.deliverer.sender import Sender
from services.mail.ids import PublicIds
from services.mail.model import Measure
from services.mail.store import changes, labels
from services.mail.store.connection import Connection, Pool
from services.mail.store.webhooks import cursors, deliveries, endpoints
from services.mail.store.webhooks.cursors import Head
from services.mail.usage import UsageCounter
from services.mail.webhooks.events import EventWriter, type_of
from services.mail.webhooks.health import EndpointHealth
from services.mail.webhooks.model import Attempt, CursorLease, DeliveryState, Endpoint, Event, EventType
from services.mail.webhooks.retries import RetryRules, Verdict, verdict_of
from services.mail.webhooks.secrets import EndpointSecrets

# Changes that are read at once.
_PAGE = 100
# Seconds after which other mailboxes of the endpoint get its slots.
_LONGEST_RUN = 10.0
# A mailbox without changes is at the beginning of its feed.
_NO_FEED = changes.Feed(latest=changes.Position(incarnation=0, seq=0), live_from=None)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """Whether more waits, and whether the last try delivered; None: nothing was tried."""

    goes_on: bool = False
    delivered: bool | None = None


@dataclass(slots=True)
class _Run:
    """A run with a claimed cursor: its place in the feed, which moves, and what its events need."""

    lease: CursorLease
    endpoint: Endpoint
    secrets: Sequence[str]
    head: Head
    writer: EventWriter
    began: float
    # The last change that is done with: delivered, parked or not asked for.
    seq: int = 0
    # Position of the event before the next one, and whether that begins a chain.
    previous: tuple[int, int] = (0, 0)
    chain_start: bool = True
    tries: int = 0
    delivered: bool | None = None

    def chain(self) -> dict[str, object]:
        """Return the chain's fields of the next event, without whether it is replayed."""
        return self.writer.chain_of(previous=self.previous, chain_start=self.chain_start, replayed=False)


class FeedDelivery:
    """Delivers the events of mailboxes. `draw` gives random numbers from 0 to 1."""

    def __init__(
        self,
        pool: Pool,
        *,
        owner: UUID,
        sender: Sender,
        ids: PublicIds,
        secrets: EndpointSecrets,
        health: EndpointHealth,
        metrics: DelivererMetrics,
        usage: UsageCounter,
        rules: RetryRules,
        lease_seconds: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._owner = owner
        self._sender = sender
        self._ids = ids
        self._secrets = secrets
        self._health = health
        self._metrics = metrics
        self._usage = usage
        self._rules = rules
        self._lease_seconds = lease_seconds
        self._draw = draw

    async def run(self, endpoint_id: UUID, mailbox_id: int, *, is_stopping: Callable[[], bool]) -> RunOutcome:
        """Deliver what waits, until there is nothing, an event fails, or the time is over.

        Nothing happens if another deliverer has the cursor.
        """
        async with self._pool.acquire() as connection:
            lease = await cursors.claim(
                connection, endpoint_id, mailbox_id, owner=self._owner, lease_seconds=self._lease_seconds
            )
        if lease is None:
            return RunOutcome()
        run = await self._open(lease)
        if run is not None and not await self._deliver_all(run, is_stopping):
            return RunOutcome(delivered=run.delivered)
        async with self._pool.acquire() as connection:
            goes_on = await cursors.release(connection, lease, seq=None if run is None else run.seq)
        # Without its endpoint it waits for the next look.
        return RunOutcome() if run is None else RunOutcome(goes_on=goes_on, delivered=run.delivered)

    async def _deliver_all(self, run: _Run, is_stopping: Callable[[], bool]) -> bool:
        """Deliver events until the time is over; return whether the cursor is still this run's."""
        async with aclosing(self._events(run)) as events:
            async for event in events:
                if not await self._deliver(run, event):
                    return False
                if is_stopping() or time.monotonic() - run.began > _LONGEST_RUN:
                    break
        return True

    async def _open(self, lease: CursorLease) -> _Run | None:
        async with self._pool.acquire() as connection:
            endpoint = await endpoints.load(connection, lease.endpoint_id)
            head = await cursors.head(connection, lease.mailbox_id)
            records = await endpoints.secrets(connection, lease.endpoint_id)
        if endpoint is None or head is None:
            return None
        try:
            secrets = [self._secrets.decrypt(record, lease.endpoint_id) for record in records]
        except DecryptionError as error:
            log.error("the secret of a webhook does not open", webhook_id=str(lease.endpoint_id), reason=str(error))
            return None
        writer = EventWriter(
            self._ids, endpoint_id=lease.endpoint_id, mailbox_id=lease.mailbox_id, account_id=head.account_id
        )
        return _Run(
            lease=lease,
            endpoint=endpoint,
            secrets=secrets,
            head=head,
            writer=writer,
            began=time.monotonic(),
            seq=lease.seq or 0,
            previous=(lease.previous_incarnation, lease.previous_seq),
            chain_start=lease.chain_start,
            tries=lease.tries,
        )

    async def _events(self, run: _Run) -> AsyncGenerator[Event]:
        """Yield the events that wait, as their changes are now; the caller notes what came of each in the run."""
        if run.head.disconnected_at is not None:
            if run.endpoint.wants(EventType.DISCONNECTED):
                yield self._end_of(run, run.head.disconnected_at)
            else:
                async with self._pool.acquire() as connection:
                    await cursors.end(connection, run.lease)
            return
        async with self._pool.acquire() as connection:
            feed = await changes.feed(connection, run.lease.mailbox_id) or _NO_FEED
        if not await self._find_place(run, feed):
            return
        if run.lease.resync_due:
            yield self._resync(run, feed)
        until = feed.latest.seq
        # Up to the end of the first sync there are events only, unless all is asked for.
        live_from = 0 if run.endpoint.rules.backfill else feed.live_from if feed.live_from is not None else until
        while run.seq < until:
            page = await self._page(run, until=until, live_from=live_from)
            for change in page:
                if not run.endpoint.wants(type_of(change)):
                    run.seq = change.seq
                    continue
                chain = run.chain() | {"replayed": change.seq <= run.lease.replayed_until}
                yield run.writer.of_change(change, incarnation=feed.latest.incarnation, chain=chain)
            if len(page) < _PAGE:
                run.seq = max(run.seq, until)

    async def _page(self, run: _Run, *, until: int, live_from: int) -> list[changes.Told]:
        mailbox_id = run.lease.mailbox_id
        async with self._pool.acquire() as connection:
            return await changes.to_tell(
                connection,
                mailbox_id,
                account_id=run.head.account_id,
                after=run.seq,
                until=until,
                live_from=live_from,
                limit=_PAGE,
                label_names=await labels.names(connection, mailbox_id),
            )

    def _end_of(self, run: _Run, at: datetime) -> Event:
        """Return the last event of a mailbox that is disconnected. What was pending of its mail is dropped."""
        head = run.head
        return run.writer.of_end(
            EventType.DISCONNECTED, seq=head.seq, incarnation=head.incarnation, at=at, chain=run.chain()
        )

    async def _find_place(self, run: _Run, feed: changes.Feed) -> bool:
        """Find where a new cursor begins, and whether changes after the cursor are lost; return whether it goes on."""
        lease, latest = run.lease, feed.latest
        async with self._pool.acquire() as connection:
            if lease.seq is None:
                start = await _start_of(connection, run, latest.seq)
                run.seq, run.previous, run.chain_start = start, (latest.incarnation, start), True
                return await cursors.begin(connection, lease, seq=start, incarnation=latest.incarnation)
            if lease.resync_due or run.seq >= latest.seq:
                return True
            if await changes.first_kept(connection, lease.mailbox_id, run.seq) == run.seq + 1:
                return True
            run.lease = replace(lease, resync_due=True)
            run.seq, run.chain_start, run.tries = latest.seq, True, 0
            return await cursors.require_resync(connection, lease, seq=latest.seq)

    def _resync(self, run: _Run, feed: changes.Feed) -> Event:
        """Return the event that changes are lost: the receiver lists everything, and a chain begins at the present."""
        chain = run.chain() | {"chain_start": True}
        return run.writer.of_end(
            EventType.RESYNC_REQUIRED,
            seq=run.seq,
            incarnation=feed.latest.incarnation,
            at=datetime.now(UTC),
            chain=chain,
        )

    async def _deliver(self, run: _Run, event: Event) -> bool:
        """Try an event and record what came of it; return whether the next one may follow."""
        attempt = await self._sender.send(run.endpoint, event, secrets=run.secrets)
        verdict = verdict_of(attempt)
        run.delivered = verdict is Verdict.DELIVERED
        if verdict is Verdict.DELIVERED:
            run.endpoint = await self._health.recover(run.endpoint)
            return await self._pass(run, event, attempt, state=DeliveryState.DELIVERED)
        if await self._health.is_to_be_parked(
            run.endpoint, verdict, attempt, tries=run.tries + 1, failing_since=run.lease.failing_since
        ):
            passed = await self._pass(run, event, attempt, state=DeliveryState.PARKED)
            run.endpoint = await self._health.note_failure(run.endpoint, verdict, parked=True)
            return passed
        await self._fail(run, event, attempt, verdict)
        return False

    async def _pass(self, run: _Run, event: Event, attempt: Attempt, *, state: DeliveryState) -> bool:
        """Go on after an event; return whether the lease is still held."""
        is_last = event.event_type is EventType.DISCONNECTED
        async with self._pool.acquire() as connection:
            held = await deliveries.record_passed(
                connection, run.lease, event, attempt, state=state, lease_seconds=self._lease_seconds, is_last=is_last
            )
        if not held:
            self._metrics.ended(LOST)
            return False
        run.seq, run.previous = event.seq or 0, (event.incarnation or 0, event.seq or 0)
        run.chain_start, run.tries = False, 0
        run.lease = replace(run.lease, failing_since=None, resync_due=False)
        if state is DeliveryState.PARKED:
            self._metrics.ended(PARKED)
            self._usage.count(run.lease.mailbox_id, Measure.PARKED)
            log.warning("an event is parked", **_named(run, event), status=attempt.status)
        else:
            delay = (datetime.now(UTC) - event.timestamp).total_seconds()
            self._metrics.ended(DELIVERED, delay=None if event.data["replayed"] else delay)
            self._usage.count(run.lease.mailbox_id, Measure.DELIVERED)
        return True

    async def _fail(self, run: _Run, event: Event, attempt: Attempt, verdict: Verdict) -> None:
        pause = self._health.pause(run.endpoint, verdict, attempt, tries=run.tries + 1)
        async with self._pool.acquire() as connection:
            held = await deliveries.record_failed(connection, run.lease, event, attempt, pause=pause)
        self._metrics.ended(FAILED if held else LOST)
        if held:
            self._usage.count(run.lease.mailbox_id, Measure.FAILED)
            log.info(
                "an event was not delivered",
                **_named(run, event),
                status=attempt.status,
                error=attempt.error,
                tries=run.tries + 1,
                again_in=round(pause, 1),
            )
            await self._health.note_failure(run.endpoint, verdict, parked=False)


def _named(run: _Run, event: Event) -> dict[str, str]:
    return {"webhook_id": str(run.lease.endpoint_id), "event_id": event.event_id, "event_type": event.event_type.value}


async def _start_of(connection: Connection, run: _Run, latest: int) -> int:
    """Return the number of the change after which a new cursor begins."""
    mailbox_id = run.lease.mailbox_id
    start = await changes.last_until(connection, mailbox_id, run.endpoint.starts_at)
    if start is not None:
        return start
    first = await changes.first_kept(connection, mailbox_id, 0)
    return latest if first is None else first - 1
