"""The receivers of a soak: one with faults at random, one that hangs, one that takes everything, and a trap."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from tests.soak.webhooks.plan import FAULTS, REFUSED
from tests.support.mail.webhook_receiver import HANG, Received, Receiver, receiving


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event of a feed that came, in the order of arrival, and the status that it was answered."""

    event_id: str
    mailbox: str
    position: str
    previous: str
    chain_start: bool
    changed_at: float
    at: float
    status: int

    @property
    def is_taken(self) -> bool:
        """Whether it was answered 2xx."""
        return 200 <= self.status < 300


@dataclass
class Arrivals:
    """What came in at a receiver. While `is_faulty`, it fails at random."""

    receiver: Receiver
    random: random.Random
    is_faulty: bool = False
    all: list[Arrival] = field(default_factory=list)
    faults: Counter[int] = field(default_factory=Counter)

    def answer(self, event: Received) -> int:
        """Choose the status of an answer, and keep what the comparison needs."""
        if not event.mailbox:
            return 200
        data = event.data
        status = self._status(event)
        arrival = Arrival(
            event.event_id,
            event.mailbox,
            data["position"],
            data["previous_position"],
            data["chain_start"],
            datetime.fromisoformat(event.timestamp).timestamp(),
            event.at,
            status,
        )
        self.all.append(arrival)
        return status

    def _status(self, event: Received) -> int:
        if (event.data.get("email") or {}).get("external_id") == REFUSED and self.is_faulty:
            return 400
        if not self.is_faulty:
            return 200
        draw = self.random.random()
        for status, part in FAULTS.items():
            draw -= part
            if draw < 0:
                self.faults[status] += 1
                return status
        return 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Receivers:
    """All receivers of a soak."""

    faulty: Arrivals
    healthy: Arrivals
    dead: Receiver
    trap: Receiver


@asynccontextmanager
async def open_receivers(seed: int) -> AsyncIterator[Receivers]:
    """Run the receivers."""
    async with receiving() as one, receiving() as other, receiving() as dead, receiving() as trap:
        faulty = Arrivals(one, random.Random(seed), is_faulty=True)
        healthy = Arrivals(other, random.Random(seed))
        dead.answer = lambda _: HANG
        # A redirect that is followed ends there.
        one.answer_headers = {"Location": trap.url}
        for each in (one, other, dead, trap):
            each.keeps_all = each is trap
        one.answer, other.answer = faulty.answer, healthy.answer
        yield Receivers(faulty=faulty, healthy=healthy, dead=dead, trap=trap)
