"""The change history of one mailbox: increasing ids with gaps, kept for a limited time."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from services.sandbox.instruments.audit_log import Now

NO_LABELS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """One record of history.list; `labels` is the message's set after the change."""

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
    """Records after a floor. An id below the floor is too old, and asking from there is an error."""

    def __init__(self, *, clock: Now, random: Random, retention: float, first_id: int) -> None:
        self._clock = clock
        self._random = random
        self._retention = retention
        self._records: list[Change] = []
        self._floor = first_id
        self.current_id = first_id

    def next_id(self) -> int:
        """A new id, a random step above the current one."""
        self.current_id += self._random.randint(1, 400)
        return self.current_id

    def settle(self) -> None:
        """Make the current id the oldest valid one, as after a bulk load that has no records."""
        self._records.clear()
        self._floor = self.current_id

    def jump(self, history_id: int) -> None:
        """Go on from this id, which must lie above the current one."""
        self.current_id = history_id

    def append(self, change: Change) -> None:
        """Add a record whose id came from `next_id`."""
        self._records.append(change)

    def expire(self) -> None:
        """Make every id given out so far too old."""
        self.next_id()
        self.settle()

    def is_too_old(self, start: int) -> bool:
        """Whether records after `start` may be missing."""
        self._trim()
        return start < self._floor

    def after(self, start: int) -> Iterator[Change]:
        """Records with greater ids, oldest first."""
        first = bisect_right(self._records, start, key=lambda change: change.id)
        for i in range(first, len(self._records)):
            yield self._records[i]

    def _trim(self) -> None:
        horizon = self._clock.now() - self._retention
        kept = bisect_right(self._records, horizon, key=lambda change: change.time)
        if kept:
            self._floor = self._records[kept - 1].id
            del self._records[:kept]
