"""How much one address and one user may ask for, counted in Redis for all gateways together."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.errors import AppError, Kind

# A slow Redis must not slow every request down.
TIMEOUT = 0.25
# How long each gateway counts for itself after Redis has failed.
RETRY_AFTER_FAILURE = 5.0
# A portion is this part of a limit: what is asked of Redis, and what may be lost, at a time.
PORTIONS = 100
# Callers whose portions are remembered.
MOST_CALLERS = 10_000

type Clock = Callable[[], float]

log = structlog.get_logger()


class Counters:
    """Hits in fixed windows: in Redis, or in this process alone while Redis cannot be asked."""

    def __init__(self, redis: Redis | None, *, clock: Clock = time.time) -> None:
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared = None if redis is None else FixedWindowRateLimiter(_storage(redis))
        self._clock = clock
        self._shared_again_at = 0.0
        self._failing = False

    async def hit(self, limit: RateLimitItem, who: str, *, cost: int) -> float | None:
        """Counts; the Unix time at which the window ends if it is full, else None."""
        if self._shared is not None and self._clock() >= self._shared_again_at:
            try:
                async with asyncio.timeout(TIMEOUT):
                    full_until = await _hit(self._shared, limit, who, cost=cost)
            except (RedisError, OSError) as error:
                self._note(failing=True, reason=type(error).__name__)
                self._shared_again_at = self._clock() + RETRY_AFTER_FAILURE
            else:
                self._note(failing=False)
                return full_until
        return await _hit(self._own, limit, who, cost=cost)

    def _note(self, *, failing: bool, reason: str = "") -> None:
        if failing != self._failing:
            self._failing = failing
            who = "this process alone: Redis does not answer" if failing else "all gateways together"
            log.warning("rate limits are counted by", who=who, reason=reason)


def _storage(redis: Redis) -> RedisStorage:
    return RedisStorage(
        "async+redis://",
        implementation="redispy",
        key_prefix="mailroom:limits",
        connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # documented, and missing in its type
    )


async def _hit(counter: FixedWindowRateLimiter, limit: RateLimitItem, who: str, *, cost: int) -> float | None:
    if await counter.hit(limit, who, cost=cost):
        return None
    return (await counter.get_window_stats(limit, who)).reset_time


@dataclass(slots=True)
class _Portion:
    """What a caller may take yet without a question; of a full window nothing until it ends."""

    left: int = 0
    until: float = 0.0
    refused: bool = False
    # Only one of a caller's requests asks for the next portion.
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_spent(self, now: float) -> bool:
        return self.until <= now or (self.left == 0 and not self.refused)


class RateLimit:
    """So many requests per caller in a window.

    Takes them from the counters in portions, so that a request costs a hundredth of a question to Redis where it
    matters; whoever is refused is refused here until the window ends.
    """

    def __init__(self, limit: RateLimitItem, counters: Counters, *, clock: Clock = time.time) -> None:
        self._limit = limit
        self._counters = counters
        self._clock = clock
        self._cost = max(1, limit.amount // PORTIONS)
        self._portions: OrderedDict[str, _Portion] = OrderedDict()

    async def take(self, who: str) -> None:
        """Counts a request. Raises AppError too_many_requests."""
        now = self._clock()
        portion = self._portions.get(who) or self._portions.setdefault(who, _Portion())
        if portion.is_spent(now):
            async with portion.asking:
                if portion.is_spent(now):
                    await self._fill(portion, who, now)
        if portion.refused:
            raise AppError(
                Kind.RATE_LIMITED,
                "too_many_requests",
                f"More than {self._limit.amount} requests in {self._limit.get_expiry()} seconds.",
                {"retry_after": str(portion.until - now)},
            )
        portion.left -= 1

    async def _fill(self, portion: _Portion, who: str, now: float) -> None:
        full_until = await self._counters.hit(self._limit, who, cost=self._cost)
        portion.refused = full_until is not None
        if full_until is None:
            portion.left, portion.until = self._cost, now + self._limit.get_expiry()
        else:
            portion.left, portion.until = 0, max(full_until, now + 1)
        # Others may have pushed it out meanwhile.
        self._portions[who] = portion
        self._portions.move_to_end(who)
        while len(self._portions) > MOST_CALLERS:
            self._portions.popitem(last=False)
