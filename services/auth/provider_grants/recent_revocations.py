"""Marks of revocations at providers, for grants that are made at the same time.

A provider ends all grants of an account when one of them is revoked, also a grant whose sign-in is not stored yet. A
revocation is marked before it looks for accounts, and a sign-in looks for the mark after it has stored its account: one
of them sees the other.
"""

import asyncio
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.errors import service_unavailable

# Seconds. The mark outlasts an exchange, and a pending grant: the code of a connect session is valid for ten minutes.
MARK_SECONDS = 900
# A revocation under way is forgotten after this time: its process may have died.
UNDER_WAY_SECONDS = 15
_PAUSE = 0.05


class RecentRevocations:
    """Marks in Redis. Methods raise AppError if Redis is unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def begin(self, revocation_id: UUID, *, provider: str, subject: str) -> None:
        """Mark a revocation that may be sent from now on."""
        under_way = _under_way(provider, subject)
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.set(_mark(provider, subject), 1, ex=MARK_SECONDS)
                pipeline.sadd(under_way, str(revocation_id))
                pipeline.expire(under_way, UNDER_WAY_SECONDS)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise service_unavailable("A store") from error

    async def end(self, revocation_id: UUID, *, provider: str, subject: str) -> None:
        """Say that a revocation is under way no more; its mark stays."""
        try:
            await self._redis.srem(_under_way(provider, subject), str(revocation_id))
        except (RedisError, OSError) as error:
            raise service_unavailable("A store") from error

    async def await_end(self, *, provider: str, subject: str) -> bool:
        """Wait for the revocations under way; return whether any was sent within the last minutes."""
        try:
            if not await self._redis.exists(_mark(provider, subject)):
                return False
            while await self._redis.exists(_under_way(provider, subject)):  # noqa: ASYNC110 - another process ends it
                await asyncio.sleep(_PAUSE)
        except (RedisError, OSError) as error:
            raise service_unavailable("A store") from error
        return True


def _mark(provider: str, subject: str) -> str:
    return f"auth:revoked:{provider}:{subject}"


def _under_way(provider: str, subject: str) -> str:
    return f"auth:revoking:{provider}:{subject}"
