"""The number of messages to request at once from a mailbox, lowered for a while after the provider's limit was met.

The limit is often not published, and the requests of all clients of the mailbox count towards it.
"""

from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

# Seconds until the full number is tried again.
_REMEMBER: Final = 600


class ConcurrencyLimit:
    """The batch size per mailbox, shared by all workers. Mailboxes are named by their provider identity.

    `most` is what the provider allows as far as its adapter knows; without Redis it is the limit.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def limit(self, identity: str, *, most: int) -> int:
        """Return the size of the mailbox's next batch."""
        try:
            lowered = await self._redis.get(_key(identity))
        except RedisError:
            return most
        return most if lowered is None else min(most, max(1, int(lowered)))

    async def lower(self, identity: str, *, most: int) -> None:
        """Halve the batch size of a mailbox for some minutes."""
        halved = max(1, await self.limit(identity, most=most) // 2)
        try:
            await self._redis.set(_key(identity), halved, ex=_REMEMBER)
        except RedisError:
            return


def _key(identity: str) -> str:
    return f"mail:concurrency_limit:{identity}"
