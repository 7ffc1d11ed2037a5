"""The number of messages to request at once from a mailbox, lowered for a while after the provider's limit was met.

The limit is not published, and the requests of all clients of the mailbox count towards it.
"""

from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

# Seconds until the full batch size is tried again.
_REMEMBER: Final = 600


class ConcurrencyLimit:
    """The batch size per mailbox, shared by all workers. Without Redis it is the full one."""

    def __init__(self, redis: Redis, *, batch_size: int) -> None:
        self._redis = redis
        self._batch_size = batch_size

    async def limit(self, mailbox_id: int) -> int:
        """Return the size of the mailbox's next batch."""
        try:
            lowered = await self._redis.get(_key(mailbox_id))
        except RedisError:
            return self._batch_size
        return self._batch_size if lowered is None else min(self._batch_size, max(1, int(lowered)))

    async def lower(self, mailbox_id: int) -> None:
        """Halve the batch size of a mailbox for some minutes."""
        halved = max(1, await self.limit(mailbox_id) // 2)
        try:
            await self._redis.set(_key(mailbox_id), halved, ex=_REMEMBER)
        except RedisError:
            return


def _key(mailbox_id: int) -> str:
    return f"mail:concurrency_limit:{mailbox_id}"
