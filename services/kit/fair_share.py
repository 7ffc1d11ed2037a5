"""Slots for work that is scarce in a process, shared fairly among users."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.kit.errors import AppError, Kind

# Retry-After of a refused request: slots become free at any moment.
_RETRY_SECONDS = 1


class FairShare:
    """Slots of which a user holds `per_user` at most.

    Up to `waiting` of a user's requests wait; free slots go around the waiting users, so that a user's many requests
    delay the user's own and no other's. `work` names the work in refusals.
    """

    def __init__(self, slots: int, *, per_user: int, waiting: int, work: str) -> None:
        self._free = slots
        self._per_user = per_user
        self._most_waiting = waiting
        self._work = work
        self._held: Counter[str] = Counter()
        # The users in the order in which they get the next slots.
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def of(self, user: str) -> AsyncIterator[None]:
        """Hold a slot of the user while the block lasts. Raises AppError too_many_requests."""
        await self._take(user)
        try:
            yield
        finally:
            self._give_back(user)

    async def _take(self, user: str) -> None:
        if self._free and self._held[user] < self._per_user:
            self._hold(user)
            return
        queue = self._queues.get(user, deque())
        if len(queue) >= self._most_waiting:
            raise AppError(
                Kind.RATE_LIMITED,
                "too_many_requests",
                f"Too many {self._work} at a time.",
                {"retry_after": str(_RETRY_SECONDS)},
            )
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._queues[user] = queue
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(user)
            else:
                self._forget(user, turn)
            raise

    def _hold(self, user: str) -> None:
        self._free -= 1
        self._held[user] += 1

    def _give_back(self, user: str) -> None:
        self._free += 1
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]
        self._grant()

    def _grant(self) -> None:
        """Give the free slots to those that wait, one to each user in turn."""
        while self._free:
            user = next((user for user in self._queues if self._held[user] < self._per_user), None)
            if user is None:
                return
            queue = self._queues.pop(user)
            turn = queue.popleft()
            if queue:
                self._queues[user] = queue
            # One that was given up is still in the queue until its task has run.
            if not turn.done():
                self._hold(user)
                turn.set_result(None)

    def _forget(self, user: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(user, deque())
        if turn in queue:
            queue.remove(turn)
        if not queue:
            self._queues.pop(user, None)
