"""A run with the claimed cursor of a feed, and what comes of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.mail.store.webhooks.cursors import Head
from services.mail.webhooks.events import EventWriter
from services.mail.webhooks.model import CursorLease, Endpoint, Event

# Seconds after which other mailboxes of the endpoint get its slots.
_LONGEST_RUN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """Whether more waits, and whether the last try delivered; None: nothing was tried."""

    goes_on: bool = False
    delivered: bool | None = None


@dataclass(slots=True, kw_only=True)
class FeedRun:
    """A run: its place in the feed, which moves, and what its events need."""

    lease: CursorLease
    endpoint: Endpoint
    secrets: Sequence[str]
    head: Head
    writer: EventWriter
    began: float
    is_stopping: Callable[[], bool]
    # The last change that is done with: delivered, parked or not asked for. The last one of the feed.
    seq: int
    until: int = 0
    # Position of the event before the next one to be read, and whether that begins a chain.
    previous: tuple[int, int]
    chain_start: bool
    tries: int
    delivered: bool | None = None

    def is_over(self) -> bool:
        """Return whether the deliverer stops, or others wait for the slot."""
        return self.is_stopping() or time.monotonic() - self.began > _LONGEST_RUN

    def follow(self, event: Event) -> None:
        """Let the next event name this one as the one before it."""
        self.previous, self.chain_start = (event.incarnation or 0, event.seq or 0), False

    def chain(self, *, replayed: bool = False) -> dict[str, object]:
        """Return the chain's fields of the next event."""
        return self.writer.chain_of(previous=self.previous, chain_start=self.chain_start, replayed=replayed)
