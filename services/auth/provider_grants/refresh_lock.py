"""One refresh at a time per account, across all processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import RedisError

from services.kit.errors import AppError, Kind, service_unavailable

# Seconds after which a provider that failed may be asked again.
RETRY_AFTER = 5


class RefreshLock:
    """A lock in Redis. It expires if its holder dies, so what it guards must also be safe without it.

    `lease` and `wait` are in seconds; the lease has to outlast what is done under the lock.
    """

    def __init__(self, *, redis: Redis, lease: float, wait: float) -> None:
        self._redis = redis
        self._lease = lease
        self._wait = wait

    @asynccontextmanager
    async def hold(self, account_id: UUID) -> AsyncIterator[None]:
        """Waits for the lock and holds it. Raises AppError if Redis cannot be used or others hold it for too long."""
        lock = Lock(
            self._redis,
            f"auth:refresh:{account_id}",
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
            yield
        finally:
            await _release(lock)


def provider_unavailable(message: str) -> AppError:
    """The provider cannot be used now. `retry_after` keeps the caller's channel from asking it again at once."""
    return AppError(Kind.UNAVAILABLE, "provider_unavailable", message, {"retry_after": str(RETRY_AFTER)})


async def _release(lock: Lock) -> None:
    try:
        await lock.release()
    except (RedisError, OSError):
        # Expired, or Redis has gone: either way it is not ours any more, and what was done under it stands.
        return
