"""How often a mailbox may sign in, counted in Redis for all processes: servers lock accounts that try too often."""

from typing import Final, NoReturn

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.mail.providers.base import ProviderUnavailableError, RateLimitedError

# Sign-ins within the seconds of a window, which begins with the first one. Sources: reports of accounts that Yandex
# locked after many logins within minutes. A denial is shown after 300 s of attempts, and then tried every 900 s.
LOGINS: Final = (10, 300)
REFUSALS: Final = (10, 3_600)


class LoginBudget:
    """The sign-ins of mailboxes. Those that the server refuses count twice, in a longer window, too."""

    def __init__(self, redis: Redis, *, logins: tuple[int, int] = LOGINS, refusals: tuple[int, int] = REFUSALS) -> None:
        self._redis = redis
        self._logins = logins
        self._refusals = refusals

    async def take(self, mailbox_id: int) -> None:
        """Count a sign-in that is about to be made. Raises RateLimitedError, ProviderUnavailableError without Redis."""
        try:
            refused = await self._redis.get(_refused(mailbox_id))
            if refused is not None and int(refused) >= self._refusals[0]:
                await self._wait(_refused(mailbox_id), self._refusals[1])
            if await self._count(_logins(mailbox_id), self._logins[1]) > self._logins[0]:
                await self._wait(_logins(mailbox_id), self._logins[1])
        except RedisError as error:
            raise ProviderUnavailableError("sign-ins cannot be counted") from error

    async def refused(self, mailbox_id: int) -> None:
        """Count a sign-in that the server has refused. Without Redis the next one is not made either."""
        try:
            await self._count(_refused(mailbox_id), self._refusals[1])
        except RedisError:
            return

    async def _count(self, key: str, seconds: int) -> int:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, seconds, nx=True)
            counted, _ = await pipeline.execute()
        return int(counted)

    async def _wait(self, key: str, longest: int) -> NoReturn:
        seconds = await self._redis.ttl(key)
        raise RateLimitedError("too many sign-ins", retry_after=float(min(longest, max(1, seconds))))


def _logins(mailbox_id: int) -> str:
    return f"mail:sign_ins:{mailbox_id}"


def _refused(mailbox_id: int) -> str:
    return f"mail:sign_ins:refused:{mailbox_id}"
