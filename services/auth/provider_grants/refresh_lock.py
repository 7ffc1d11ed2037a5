"""A lock that allows one refresh per grant at a time, across all processes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import RedisError

from services.kit.errors import AppError, Kind, service_unavailable

# Seconds after which a caller may retry a provider that failed.
RETRY_AFTER = 5

# Begins the lease anew.
type Renew = Callable[[], Awaitable[None]]


class RefreshLock:
    """A lock in Redis. It expires if its holder dies, so the guarded work must be safe without it.

    `lease` and `wait` are in seconds; the lease must outlast the guarded work.
    """

    def __init__(self, *, redis: Redis, lease: float, wait: float) -> None:
        self._redis = redis
        self._lease = lease
        self._wait = wait

    @asynccontextmanager
    async def hold(self, grant_id: UUID) -> AsyncIterator[Renew]:
        """Wait for the lock and hold it; yields what renews the lease.

        Raises AppError if Redis is unavailable or others hold it for too long.
        """
        lock = Lock(
            self._redis,
            f"auth:refresh:{grant_id}",
            timeout=self._lease,
            blocking_timeout=self._wait,
            sleep=0.05,
            thread_local=False,
        )
        try:
            held = await lock.acquire()
        except (RedisError, OSError) as error:
            raise service_unavailable("A store") from error
        if not held:
            raise provider_unavailable("The provider takes long to answer, try again later.")
        try:
            yield partial(_renew, lock)
        finally:
            await _release(lock)


def provider_unavailable(message: str) -> AppError:
    """Return the error of an unavailable provider; `retry_after` keeps the caller's channel from retrying at once."""
    return AppError(Kind.UNAVAILABLE, "provider_unavailable", message, {"retry_after": str(RETRY_AFTER)})


async def _renew(lock: Lock) -> None:
    # An expired lock, or an unavailable Redis, is as in `_release`.
    with suppress(RedisError, OSError):
        await lock.reacquire()


async def _release(lock: Lock) -> None:
    try:
        await lock.release()
    except (RedisError, OSError):
        # The lock has expired, or Redis is unavailable. The work done under it is safe without it.
        return
