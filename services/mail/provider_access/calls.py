"""Calls of a provider that a user waits for: under the same quota as the workers', but with more patience."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from services.kit.errors import AppError, Kind
from services.mail.model import Mailbox
from services.mail.provider_access.access_tokens import AccessTokens
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.providers.base import RateLimitedError, TokenRefusedError, TooConcurrentError

# Seconds that a user may wait for units, of which workers in mid-sync leave few.
_PATIENCE = 20.0
# After "too many concurrent requests": others use the mailbox as well.
_CONCURRENCY_PAUSE = 2.0


class ProviderCalls:
    """Takes quota, then calls with an access token, with a new one if the first is refused."""

    def __init__(
        self, *, quota: Quota, concurrency_limit: ConcurrencyLimit, tokens: AccessTokens, patience: float = _PATIENCE
    ) -> None:
        self._quota = quota
        self._concurrency_limit = concurrency_limit
        self._tokens = tokens
        self._patience = patience

    async def call[T](self, mailbox: Mailbox, units: int, ask: Callable[[str], Awaitable[T]]) -> T:
        """What `ask` answers for a token. Raises ProviderError, AppError provider_rate_limited, service_unavailable."""
        await self._take(mailbox.mailbox_id, units)
        try:
            token = await self._tokens.get(mailbox)
            try:
                return await ask(token)
            except TokenRefusedError:
                return await ask(await self._tokens.replace(mailbox, token))
        except TooConcurrentError:
            await self._concurrency_limit.lower(mailbox.mailbox_id)
            await self._pause(mailbox, _CONCURRENCY_PAUSE, whole_project=False)
            raise
        except RateLimitedError as error:
            await self._pause(mailbox, error.retry_after, whole_project=error.whole_project)
            raise

    async def _take(self, mailbox_id: int, units: int) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                await self._quota.take(mailbox_id, units)
            except QuotaWaitError as wait:
                if isinstance(wait.__cause__, RedisError):
                    raise AppError(
                        Kind.UNAVAILABLE, "service_unavailable", "A store is unavailable, try again."
                    ) from wait
                if time.monotonic() + wait.seconds > deadline:
                    raise rate_limited(wait.seconds) from wait
                await asyncio.sleep(wait.seconds)
            else:
                return

    async def _pause(self, mailbox: Mailbox, seconds: float, *, whole_project: bool) -> None:
        try:
            await self._quota.pause(mailbox.mailbox_id, seconds, whole_project=whole_project)
        except QuotaWaitError:
            # Without Redis nobody gets units, so nobody has to be kept from them.
            return


def rate_limited(seconds: float) -> AppError:
    """What a user is told where units are short."""
    return AppError(
        Kind.RATE_LIMITED,
        "provider_rate_limited",
        "The provider's quota for this mailbox is used up for the moment.",
        {"retry_after": str(max(1, round(seconds)))},
    )
