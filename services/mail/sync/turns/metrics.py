"""Metrics and traces of a worker's turns: count, duration, outcome."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from opentelemetry.trace import Link, Status, StatusCode, Tracer, get_current_span
from prometheus_client import Counter, Gauge, Histogram

from services.kit.observe.setup import Telemetry
from services.kit.observe.tracing import continued, start_span
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.sync import syncs
from services.mail.store.sync.syncs import Origin

# A trace of a whole backfill would be too long: later turns link to the request that started it.
_CONTINUED_SECONDS = 60.0
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
# Outcomes of turns, besides the reasons of AppError and ProviderError.
DONE, LEASE_LOST, INTERNAL = "done", "lease_lost", "internal"
# What a worker waits for no longer than it may.
WAITS = ("listen", "claim", "drain")


@dataclass(slots=True)
class TurnOutcome:
    """The outcome of a turn: DONE, or the reason of its failure."""

    outcome: str = DONE


class TurnMetrics:
    """The metrics of a worker; `turn` measures one turn."""

    def __init__(self, telemetry: Telemetry) -> None:
        registry = telemetry.registry
        self._tracer = telemetry.tracer
        self._turns = Counter(
            "mailroom_sync_turns", "Turns with mailboxes, by outcome.", ["outcome"], registry=registry
        )
        for outcome in (DONE, LEASE_LOST, INTERNAL):
            # Export 0 first, or rate() misses the first increment.
            self._turns.labels(outcome)
        self._seconds = Histogram(
            "mailroom_sync_turn_seconds", "Turns with mailboxes.", registry=registry, buckets=_BUCKETS
        )
        self._began: dict[int, float] = {}
        Gauge(
            "mailroom_oldest_turn_seconds", "How long the longest running turn has taken.", registry=registry
        ).set_function(self._oldest_turn)
        self.messages_stored = Counter(
            "mailroom_messages_stored", "Messages stored, newer versions included.", registry=registry
        )
        self.workers_lost = Counter(
            "mailroom_workers_lost", "Workers that died and whose mailboxes this one freed.", registry=registry
        )
        self.listening = Gauge(
            "mailroom_worker_listening",
            "1 while the worker hears of triggers and claims, else 0.",
            registry=registry,
        )
        self.waits_given_up = Counter(
            "mailroom_worker_waits_given_up", "Waits that took too long, by what for.", ["wait"], registry=registry
        )
        for wait in WAITS:
            # Exports 0: increase() does not count the first increment of a new series.
            self.waits_given_up.labels(wait)
        self.watch_renewals = Counter(
            "mailroom_watch_renewals", "Watches made or renewed at providers.", ["outcome"], registry=registry
        )

    @asynccontextmanager
    async def turn(self, pool: Pool, mailbox_id: int) -> AsyncIterator[TurnOutcome]:
        """Measure a turn; the caller sets the outcome of a failed one."""
        turn = TurnOutcome()
        began = self._began[id(turn)] = time.perf_counter()
        try:
            if self._tracer is None:
                yield turn
            else:
                async with _traced(self._tracer, await _origin(pool, mailbox_id), turn, mailbox_id):
                    yield turn
        finally:
            self._turns.labels(turn.outcome).inc()
            self._seconds.observe(time.perf_counter() - began)
            del self._began[id(turn)]

    def _oldest_turn(self) -> float:
        return time.perf_counter() - min(self._began.values()) if self._began else 0.0


@asynccontextmanager
async def _traced(tracer: Tracer, origin: Origin | None, turn: TurnOutcome, mailbox_id: int) -> AsyncIterator[None]:
    """Record a span for the turn: in the trace of its request, or in a trace of its own that links to it."""
    asked = continued(None if origin is None else origin.trace_parent)
    goes_on = origin is not None and origin.age < _CONTINUED_SECONDS
    named = get_current_span(asked).get_span_context()
    with start_span(
        tracer,
        "turn with a mailbox",
        context=asked if goes_on else continued(None),
        attributes={"mailroom.mailbox_id": mailbox_id},
        links=[Link(named)] if named.is_valid and not goes_on else [],
    ) as span:
        try:
            yield
        finally:
            span.set_attribute("mailroom.outcome", turn.outcome)
            if turn.outcome != DONE:
                span.set_status(Status(StatusCode.ERROR, turn.outcome))


async def _origin(pool: Pool, mailbox_id: int) -> Origin | None:
    try:
        async with pool.acquire() as connection:
            return await syncs.origin(connection, mailbox_id)
    except DATABASE_LOST:
        return None
