"""What an adapter takes from its own buckets: logins, bytes, and whatever else the units of calls do not cover."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.mail.model import Mailbox
from services.mail.provider_access.quota import Quota, QuotaUnavailableError, QuotaWaitError
from services.mail.providers.base import ProviderUnavailableError, RateLimitedError


class OwnBuckets:
    """The buckets of a provider that count something other than units."""

    def __init__(self, quota: Quota, *, counts: str) -> None:
        self._quota = quota
        self._counts = counts

    @asynccontextmanager
    async def take(self, mailbox: Mailbox, amount: int = 1) -> AsyncIterator[None]:
        """Take for what the block does; it counts until one window after the block's end.

        Raises RateLimitedError with the wait where the amount is not to be had, ProviderUnavailableError where it
        cannot be counted.
        """
        try:
            taken = await self._quota.take(mailbox.identity, amount, counts=self._counts)
        except QuotaUnavailableError as error:
            raise ProviderUnavailableError(f"{self._counts} cannot be counted") from error
        except QuotaWaitError as wait:
            raise RateLimitedError(f"too many {self._counts}", retry_after=wait.seconds) from wait
        try:
            yield
        finally:
            self._quota.end(taken)
