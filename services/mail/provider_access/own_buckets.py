"""What an adapter takes from its own buckets: logins, bytes, and whatever else the units of calls do not cover."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from services.mail.model import Mailbox
from services.mail.provider_access.quota import Quota, QuotaUnavailableError, QuotaWaitError
from services.mail.provider_access.settlement import Taken
from services.mail.providers.errors import OwnLimitError, ProviderUnavailableError


class OwnBuckets:
    """The buckets of a provider that count something other than units."""

    def __init__(self, quota: Quota, *, counts: str) -> None:
        self._quota = quota
        self._counts = counts

    @asynccontextmanager
    async def take(
        self, mailbox: Mailbox, amount: int = 1, *, live: bool = True, only_if: type[Exception] | None = None
    ) -> AsyncIterator[None]:
        """Take for what the block does; it counts until one window after the block's end.

        With `only_if` it counts only if the block ends with that error. A take that is not `live` leaves the buckets'
        parts for live mail. Raises OwnLimitError with the wait where the amount is not to be had,
        ProviderUnavailableError where it cannot be counted.
        """
        taken = await self._take(mailbox, amount, live=live)
        counts = only_if is None
        try:
            yield
        except BaseException as error:
            counts = counts or (only_if is not None and isinstance(error, only_if))
            raise
        finally:
            (self._quota.end if counts else self._quota.give_back)(taken)

    async def hold(self, mailbox: Mailbox, *, patience: float) -> Callable[[], None]:
        """Take one until the returned function is called; wait up to `patience` seconds for it.

        Raises what `take` raises.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                return partial(self._quota.end, await self._take(mailbox, 1, live=True))
            except OwnLimitError as wait:
                if time.monotonic() + wait.retry_after > deadline:
                    raise
                await asyncio.sleep(wait.retry_after)

    async def _take(self, mailbox: Mailbox, amount: int, *, live: bool) -> Taken:
        try:
            return await self._quota.take(mailbox.identity, amount, counts=self._counts, live=live)
        except QuotaUnavailableError as error:
            raise ProviderUnavailableError(f"{self._counts} cannot be counted") from error
        except QuotaWaitError as wait:
            raise OwnLimitError(f"too many {self._counts}", retry_after=wait.seconds) from wait
