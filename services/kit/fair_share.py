"""Slots for work that is scarce in a process, shared fairly among users."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.kit.errors import AppError, Kind

# Retry-After of a refused request: slots become free at any moment.
_RETRY_SECONDS = 1


# A user, and their group; an empty group is none.
type _Holder = tuple[str, str]


class FairShare:
    """Slots of which a user holds `per_user` at most, and the users of a group together `per_group`.

    Up to `waiting` of a user's requests wait; free slots go around the waiting users, so that a user's many requests
    delay the user's own and no other's. `work` names the work in refusals.
    """

    def __init__(self, slots: int, *, per_user: int, per_group: int | None = None, waiting: int, work: str) -> None:
        self._free = slots
        self._per_user = per_user
        self._per_group = slots if per_group is None else per_group
        self._most_waiting = waiting
        self._work = work
        self._held: Counter[_Holder] = Counter()
        self._held_in: Counter[str] = Counter()
        # The users in the order in which they get the next slots.
        self._queues: dict[_Holder, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def of(self, user: str, *, group: str = "") -> AsyncIterator[None]:
        """Hold a slot of the user while the block lasts. Raises AppError too_many_requests."""
        holder = (user, group)
        await self._take(holder)
        try:
            yield
        finally:
            self._give_back(holder)

    async def _take(self, holder: _Holder) -> None:
        if self._free and self._may_hold(holder):
            self._hold(holder)
            return
        queue = self._queues.get(holder, deque())
        if len(queue) >= self._most_waiting:
            raise AppError(
                Kind.RATE_LIMITED,
                "too_many_requests",
                f"Too many {self._work} at a time.",
                {"retry_after": str(_RETRY_SECONDS)},
            )
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._queues[holder] = queue
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(holder)
            else:
                self._forget(holder, turn)
            raise

    def _may_hold(self, holder: _Holder) -> bool:
        _, group = holder
        is_full = bool(group) and self._held_in[group] >= self._per_group
        return not is_full and self._held[holder] < self._per_user

    def _hold(self, holder: _Holder) -> None:
        self._free -= 1
        self._held[holder] += 1
        self._held_in[holder[1]] += 1

    def _give_back(self, holder: _Holder) -> None:
        self._free += 1
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
        self._held_in[holder[1]] -= 1
        if not self._held_in[holder[1]]:
            del self._held_in[holder[1]]
        self._grant()

    def _grant(self) -> None:
        """Give the free slots to those that wait, one to each user in turn."""
        while self._free:
            holder = next(filter(self._may_hold, self._queues), None)
            if holder is None:
                return
            queue = self._queues.pop(holder)
            turn = queue.popleft()
            if queue:
                self._queues[holder] = queue
            # One that was given up is still in the queue until its task has run.
            if not turn.done():
                self._hold(holder)
                turn.set_result(None)

    def _forget(self, holder: _Holder, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(holder, deque())
        if turn in queue:
            queue.remove(turn)
        if not queue:
            self._queues.pop(holder, None)
