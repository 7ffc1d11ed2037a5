"""The tries that a deliverer makes at a time."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID


class Slots:
    """Up to `total` tries at a time, and up to `per_endpoint` for one endpoint.

    An endpoint gets no more than it leaves free. One to which nothing could be delivered last gets one, and all of
    these together get half: they cost others nothing.
    """

    def __init__(self, *, total: int, per_endpoint: int) -> None:
        self._free = total
        self._per_endpoint = per_endpoint
        self._taken: Counter[UUID] = Counter()
        self._failing: set[UUID] = set()
        self._free_of_failing = max(1, total // 2)
        self._freed: Callable[[], None] = lambda: None

    def on_freed(self, call: Callable[[], None]) -> None:
        """Call this whenever slots are free again."""
        self._freed = call

    def note(self, endpoint_id: UUID, *, is_failing: bool) -> None:
        """Note whether nothing could be delivered to an endpoint last."""
        if is_failing and endpoint_id not in self._failing:
            self._failing.add(endpoint_id)
            self._free_of_failing -= self._taken[endpoint_id]
        elif not is_failing and endpoint_id in self._failing:
            self._failing.remove(endpoint_id)
            self._free_of_failing += self._taken[endpoint_id]

    def may_take(self, endpoint_id: UUID) -> bool:
        """Return whether an endpoint may have one more slot."""
        if endpoint_id in self._failing:
            return min(self._free, self._free_of_failing) > 0 and endpoint_id not in self._taken
        return self._taken.get(endpoint_id, 0) < min(self._per_endpoint, self._free)

    def take(self, endpoint_id: UUID) -> bool:
        """Take a slot for an endpoint if it may have one more; return whether it may."""
        if not self.may_take(endpoint_id):
            return False
        self._count(endpoint_id, 1)
        return True

    def give(self, endpoint_id: UUID, number: int = 1) -> None:
        """Give back slots of an endpoint."""
        self._count(endpoint_id, -number)
        self._freed()

    def _count(self, endpoint_id: UUID, number: int) -> None:
        self._free -= number
        if endpoint_id in self._failing:
            self._free_of_failing -= number
        self._taken[endpoint_id] += number
        if not self._taken[endpoint_id]:
            del self._taken[endpoint_id]

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
