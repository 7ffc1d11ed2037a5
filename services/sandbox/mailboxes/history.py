"""The change history of one mailbox: increasing ids with gaps, and a retention."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from services.sandbox.clock import Clock

NO_LABELS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """One history record; `labels` is the message's set after the change."""

    id: int
    time: float
    message_id: str
    thread_id: str
    labels: frozenset[str]
    added: bool = False
    deleted: bool = False
    labels_added: frozenset[str] = NO_LABELS
    labels_removed: frozenset[str] = NO_LABELS


class History:
    """Records above a floor. Ids below the floor are too old to continue from."""

    def __init__(self, *, clock: Clock, random: Random, retention: float, first_id: int) -> None:
        self._clock = clock
        self._random = random
        self._retention = retention
        self._records: list[Change] = []
        self._floor = first_id
        self.current_id = first_id

    def next_id(self) -> int:
        """Issue an id, a random step above the current one."""
        self.current_id += self._random.randint(1, 400)
        return self.current_id

    def discard_records(self) -> None:
        """Drop all records and make the current id the oldest valid one, as after a bulk load."""
        self._records.clear()
        self._floor = self.current_id

    def jump(self, history_id: int) -> None:
        """Continue from this id, which must be above the current one."""
        self.current_id = history_id

    def append(self, change: Change) -> None:
        """Add a record whose id came from `next_id`."""
        self._records.append(change)

    def expire(self) -> None:
        """Make every id issued so far too old."""
        self.next_id()
        self.discard_records()

    def is_too_old(self, start: int) -> bool:
        """Return whether records after `start` may be missing."""
        self._trim()
        return start < self._floor

    def records_after(self, start: int) -> Iterator[Change]:
        """Yield records with greater ids, oldest first."""
        first = bisect_right(self._records, start, key=lambda change: change.id)
        for i in range(first, len(self._records)):
            yield self._records[i]

    def _trim(self) -> None:
        horizon = self._clock.now() - self._retention
        kept = bisect_right(self._records, horizon, key=lambda change: change.time)
        if kept:
            self._floor = self._records[kept - 1].id
            del self._records[:kept]
