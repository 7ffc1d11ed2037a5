"""The tries that a deliverer makes at a time."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID


class Slots:
    """Up to `total` tries at a time, and up to `per_endpoint` for one endpoint.

    An endpoint gets no more than it leaves free, and one to which nothing could be delivered last gets one: it costs
    others nothing.
    """

    def __init__(self, *, total: int, per_endpoint: int) -> None:
        self._total = total
        self._per_endpoint = per_endpoint
        self._taken: Counter[UUID] = Counter()
        self._failing: set[UUID] = set()
        self._freed: Callable[[], None] = lambda: None

    def on_freed(self, call: Callable[[], None]) -> None:
        """Call this whenever slots are free again."""
        self._freed = call

    def note(self, endpoint_id: UUID, *, is_failing: bool) -> None:
        """Note whether nothing could be delivered to an endpoint last."""
        if is_failing:
            self._failing.add(endpoint_id)
        else:
            self._failing.discard(endpoint_id)

    def take(self, endpoint_id: UUID) -> bool:
        """Take a slot for an endpoint if it may have one more; return whether it may."""
        left = self._total - self._taken.total()
        room = 1 if endpoint_id in self._failing else min(self._per_endpoint, left)
        if left < 1 or self._taken[endpoint_id] >= room:
            return False
        self._taken[endpoint_id] += 1
        return True

    def give(self, endpoint_id: UUID, number: int = 1) -> None:
        """Give back slots of an endpoint."""
        self._taken[endpoint_id] -= number
        if not self._taken[endpoint_id]:
            del self._taken[endpoint_id]
        self._freed()

    @contextmanager
    def more(self, endpoint_id: UUID, most: int) -> Iterator[int]:
        """Take up to `most` slots that an endpoint may have now, and give them back after the block; yield how many."""
        number = 0
        while number < most and self.take(endpoint_id):
            number += 1
        try:
            yield number
        finally:
            if number:
                self.give(endpoint_id, number)
