"""The delivery of a mailbox's events to an endpoint, in the order that it asks for."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import structlog

from services.mail.deliverer.feed_reader import FeedReader
from services.mail.deliverer.feed_run import FeedRun, RunOutcome
from services.mail.deliverer.metrics import DELIVERED, FAILED, LOST, PARKED, DelivererMetrics
from services.mail.deliverer.sender import Sender
from services.mail.deliverer.slots import Slots
from services.mail.model import Measure
from services.mail.store.connection import Pool
from services.mail.store.webhooks import cursors, outcomes
from services.mail.store.webhooks.outcomes import Passed
from services.mail.usage import UsageCounter
from services.mail.webhooks.health import EndpointHealth
from services.mail.webhooks.model import Attempt, DeliveryOrder, DeliveryState, Event
from services.mail.webhooks.retries import Verdict, verdict_of

# Events of a mailbox that are under way at a time where their order does not matter, as far as there are slots.
_MOST_AT_ONCE = 10

log = structlog.get_logger()


class FeedDelivery:
    """Delivers the events of mailboxes as the deliverer `owner`."""

    def __init__(
        self,
        pool: Pool,
        *,
        owner: UUID,
        reader: FeedReader,
        sender: Sender,
        health: EndpointHealth,
        metrics: DelivererMetrics,
        usage: UsageCounter,
        slots: Slots,
        lease_seconds: float,
    ) -> None:
        self._pool = pool
        self._owner = owner
        self._reader = reader
        self._sender = sender
        self._health = health
        self._metrics = metrics
        self._usage = usage
        self._slots = slots
        self._lease_seconds = lease_seconds

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
        run = await self._reader.open(lease, is_stopping=is_stopping)
        if run is not None and not await self._deliver_all(run):
            return RunOutcome(delivered=run.delivered)
        async with self._pool.acquire() as connection:
            goes_on = await cursors.release(connection, lease, seq=None if run is None else run.seq)
        # Without its endpoint it waits for the next look.
        return RunOutcome() if run is None else RunOutcome(goes_on=goes_on, delivered=run.delivered)

    async def _deliver_all(self, run: FeedRun) -> bool:
        """Deliver events until the time is over; return whether the cursor is still this run's."""
        async with aclosing(self._reader.pages(run)) as pages:
            async for page in pages:
                if not await self._deliver_page(run, page):
                    return False
                if run.is_over():
                    break
        return True

    async def _deliver_page(self, run: FeedRun, events: Sequence[Event]) -> bool:
        """Deliver events until the time is over; return whether the cursor is still this run's."""
        while events:
            most = 1 if run.endpoint.rules.order is DeliveryOrder.MAILBOX else min(len(events), _MOST_AT_ONCE)
            with self._slots.more(run.lease.endpoint_id, most - 1) as more:
                group, events = events[: 1 + more], events[1 + more :]
                if not await self._deliver(run, group):
                    return False
            if run.is_over():
                break
        return True

    async def _deliver(self, run: FeedRun, group: Sequence[Event]) -> bool:
        """Try events at once and record what came of them; return whether the cursor is still this run's."""
        async with asyncio.TaskGroup() as tasks:
            tries = [tasks.create_task(self._sender.send(run.endpoint, each, secrets=run.secrets)) for each in group]
        attempts = [each.result() for each in tries]
        run.delivered = any(verdict_of(attempt) is Verdict.DELIVERED for attempt in attempts)
        if run.delivered:
            run.endpoint = await self._health.recover(run.endpoint)
        for event, attempt in zip(group, attempts, strict=True):
            if not await self._record(run, event, attempt):
                return False
        return True

    async def _record(self, run: FeedRun, event: Event, attempt: Attempt) -> bool:
        """Record what came of a try; return whether the cursor is still this run's."""
        verdict = verdict_of(attempt)
        if verdict is Verdict.DELIVERED:
            return await self._pass(run, event, attempt, state=DeliveryState.DELIVERED)
        if self._health.is_to_be_overtaken(run.endpoint, verdict, others_pass=bool(run.delivered)):
            pause = self._health.pause(run.endpoint, verdict, attempt, tries=run.tries + 1)
            if not run.delivered:
                # Before the event fails: what has failed since then waits for the endpoint, not for itself.
                await self._note_failure(run, verdict, passed_by=True)
            return await self._pass(run, event, attempt, state=DeliveryState.FAILING, pause=pause)
        if await self._health.is_to_be_parked(run.endpoint, verdict, attempt, lease=run.lease, tries=run.tries + 1):
            passed = await self._pass(run, event, attempt, state=DeliveryState.PARKED)
            await self._note_failure(run, verdict, passed_by=True)
            return passed
        await self._fail(run, event, attempt, verdict)
        return False

    async def _pass(
        self, run: FeedRun, event: Event, attempt: Attempt, *, state: DeliveryState, pause: float | None = None
    ) -> bool:
        """Go on after an event, tried by itself after `pause`; return whether the cursor is still this run's."""
        async with self._pool.acquire() as connection:
            passed = await outcomes.record_passed(
                connection,
                run.lease,
                event,
                attempt,
                state=state,
                until=run.until,
                lease_seconds=self._lease_seconds,
                pause=pause,
            )
        if passed is Passed.LOST:
            self._metrics.ended(LOST)
            return False
        run.seq = event.seq or 0
        if state is DeliveryState.PARKED:
            self._metrics.ended(PARKED)
            self._usage.count(run.lease.mailbox_id, Measure.PARKED)
            log.warning("an event is parked", **_named(run, event), status=attempt.status)
        elif state is DeliveryState.FAILING:
            self._note_failed(run, event, attempt, pause=pause or 0.0)
        else:
            delay = (datetime.now(UTC) - event.timestamp).total_seconds()
            self._metrics.ended(DELIVERED, delay=None if event.data["replayed"] else delay)
            self._usage.count(run.lease.mailbox_id, Measure.DELIVERED)
        run.tries, run.lease = 0, replace(run.lease, failing_since=None, resync_due=False)
        return passed is Passed.HELD

    async def _fail(self, run: FeedRun, event: Event, attempt: Attempt, verdict: Verdict) -> None:
        pause = self._health.pause(run.endpoint, verdict, attempt, tries=run.tries + 1)
        # Before the event fails: what has failed since then waits for the endpoint, not for itself.
        await self._note_failure(run, verdict, passed_by=False)
        async with self._pool.acquire() as connection:
            held = await outcomes.record_failed(
                connection, run.lease, event, attempt, pause=pause, refused=verdict is Verdict.REFUSED
            )
        if held:
            self._note_failed(run, event, attempt, pause=pause)
        else:
            self._metrics.ended(LOST)

    async def _note_failure(self, run: FeedRun, verdict: Verdict, *, passed_by: bool) -> None:
        run.endpoint = await self._health.note_failure(
            run.endpoint, verdict, passed_by=passed_by, at=run.lease.claimed_at
        )

    def _note_failed(self, run: FeedRun, event: Event, attempt: Attempt, *, pause: float) -> None:
        self._metrics.ended(FAILED)
        self._usage.count(run.lease.mailbox_id, Measure.FAILED)
        log.info(
            "an event was not delivered",
            **_named(run, event),
            status=attempt.status,
            error=attempt.error,
            tries=run.tries + 1,
            again_in=round(pause, 1),
        )


def _named(run: FeedRun, event: Event) -> dict[str, str]:
    return {"webhook_id": str(run.lease.endpoint_id), "event_id": event.event_id, "event_type": event.event_type.value}
