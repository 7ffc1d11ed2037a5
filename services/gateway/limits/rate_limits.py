"""Rate limits per address and per user, counted in Redis for all gateways together."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import structlog
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.gateway.limits.standings import Standing
from services.kit.errors import AppError, Kind

# Seconds. A slow Redis must not slow every request down.
TIMEOUT = 0.25
# Seconds for which this gateway counts alone after Redis has failed.
RETRY_AFTER_FAILURE = 5.0
# A portion is this fraction of a limit: the number taken from Redis at a time, which may be lost.
PORTIONS = 100
# Callers whose portions are remembered.
MOST_CALLERS = 10_000

type Clock = Callable[[], float]

log = structlog.get_logger()


class Count(NamedTuple):
    """A caller's count: whether the requests fit, how many more would, and the Unix time at which the window ends."""

    fits: bool
    remaining: int
    ends_at: float


class Counters:
    """Counters of fixed windows: in Redis, or in this process alone while Redis is unavailable."""

    def __init__(self, redis: Redis | None, *, clock: Clock = time.time) -> None:
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared = None if redis is None else FixedWindowRateLimiter(_storage(redis))
        self._clock = clock
        self._shared_again_at = 0.0
        self._failing = False

    async def hit(self, limit: RateLimitItem, caller: str, *, cost: int) -> Count:
        """Count `cost` requests."""
        if self._shared is not None and self._clock() >= self._shared_again_at:
            try:
                async with asyncio.timeout(TIMEOUT):
                    count = await _hit(self._shared, limit, caller, cost=cost)
            except (RedisError, OSError) as error:
                self._note(failing=True, reason=type(error).__name__)
                self._shared_again_at = self._clock() + RETRY_AFTER_FAILURE
            else:
                self._note(failing=False)
                return count
        return await _hit(self._own, limit, caller, cost=cost)

    def _note(self, *, failing: bool, reason: str = "") -> None:
        if failing != self._failing:
            self._failing = failing
            scope = "this process alone: Redis does not answer" if failing else "all gateways together"
            log.warning("rate limits are counted by", scope=scope, reason=reason)


def _storage(redis: Redis) -> RedisStorage:
    return RedisStorage(
        "async+redis://",
        implementation="redispy",
        key_prefix="mailroom:limits",
        connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # documented, and missing in its type
    )


async def _hit(counter: FixedWindowRateLimiter, limit: RateLimitItem, caller: str, *, cost: int) -> Count:
    fits = await counter.hit(limit, caller, cost=cost)
    window = await counter.get_window_stats(limit, caller)
    return Count(fits, window.remaining, window.reset_time)


@dataclass(slots=True)
class _Portion:
    """A caller's requests that were counted in advance; none until `until`, the end of the window, if it is full."""

    left: int = 0
    # Requests that were left in the counters beside it.
    beside: int = 0
    until: float = 0.0
    refused: bool = False
    # One of a caller's requests at a time takes the next portion.
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_spent(self, now: float) -> bool:
        return self.until <= now or (self.left == 0 and not self.refused)


class RateLimit:
    """A number of requests per caller in a window.

    They are taken from the counters in portions. Counted one by one, they would cost a round trip to Redis and 9 % more
    CPU for each request (benchmarks/gateway_request.py). A refused caller is refused here until the window ends.
    `policy` names the limit to clients.
    """

    def __init__(
        self, limit: RateLimitItem, counters: Counters, *, policy: str = "requests", clock: Clock = time.time
    ) -> None:
        self._limit = limit
        self._counters = counters
        self._policy = policy
        self._clock = clock
        self._cost = max(1, limit.amount // PORTIONS)
        self._portions: OrderedDict[str, _Portion] = OrderedDict()

    def times(self, factor: int) -> Self:
        """Return a limit of so many times as many requests, in the same counters."""
        limit = type(self._limit)(self._limit.amount * factor, self._limit.multiples, self._limit.namespace)
        return type(self)(limit, self._counters, policy=self._policy, clock=self._clock)

    async def take(self, caller: str, *, standings: list[Standing] | None = None) -> None:
        """Count a request, and add what the caller has left to `standings`. Raises AppError too_many_requests."""
        now = self._clock()
        portion = self._portions.get(caller) or self._portions.setdefault(caller, _Portion())
        if portion.is_spent(now):
            async with portion.asking:
                if portion.is_spent(now):
                    await self._fill(portion, caller, now)
        if not portion.refused:
            portion.left -= 1
        if standings is not None:
            standings.append(self._standing(portion, now))
        if portion.refused:
            raise AppError(
                Kind.RATE_LIMITED,
                "too_many_requests",
                f"More than {self._limit.amount} requests in {self._limit.get_expiry()} seconds.",
                {"retry_after": str(portion.until - now)},
            )

    def _standing(self, portion: _Portion, now: float) -> Standing:
        return Standing(
            policy=self._policy,
            quota=self._limit.amount,
            window=self._limit.get_expiry(),
            remaining=0 if portion.refused else portion.left + portion.beside,
            seconds=portion.until - now,
        )

    async def _fill(self, portion: _Portion, caller: str, now: float) -> None:
        count = await self._counters.hit(self._limit, caller, cost=self._cost)
        portion.refused = not count.fits
        portion.left = self._cost if count.fits else 0
        portion.beside = count.remaining
        # The counters' clock has whole seconds: a window that ends now goes on for one more.
        portion.until = max(count.ends_at, now + 1)
        # Other callers may have displaced it meanwhile.
        self._portions[caller] = portion
        self._portions.move_to_end(caller)
        while len(self._portions) > MOST_CALLERS:
            self._portions.popitem(last=False)
