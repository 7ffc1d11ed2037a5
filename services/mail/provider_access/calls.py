"""Calls to a provider: under quota, with a token that is replaced when refused, with back-off where limits are met."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.mail.model import Mailbox
from services.mail.provider_access.access_tokens import AccessTokens
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.providers.base import LimitError, TokenRefusedError, TooConcurrentError

# Seconds to wait for quota where the caller does not say: less than it costs to claim a mailbox again.
SHORT_WAIT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccess:
    """What calls to providers share in a process."""

    quota: Quota
    concurrency_limit: ConcurrencyLimit
    tokens: AccessTokens

    def calls(self, mailbox: Mailbox) -> "ProviderCalls":
        """Calls to the mailbox's provider."""
        return ProviderCalls(mailbox, self)


class ProviderCalls:
    """Calls to a provider for one mailbox. `units_taken` is the quota that they have taken so far."""

    def __init__(self, mailbox: Mailbox, access: ProviderAccess) -> None:
        self.units_taken = 0
        # Taken by `reserved`, and by no call yet.
        self._reserved = 0
        self._mailbox = mailbox
        self._access = access

    async def call[T](
        self, units: int, ask: Callable[[str], Awaitable[T]], *, patience: float = SHORT_WAIT, live: bool = True
    ) -> T:
        """Take quota, then call. Raises what `take` and `call_prepaid` raise."""
        await self.take(units, patience=patience, live=live)
        return await self.call_prepaid(ask)

    async def call_prepaid[T](self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Call with quota that was taken before; `ask` gets an access token, and a new one if that is refused.

        Providers do not count a call whose token they refuse. A limit that the call meets makes all processes wait.
        Raises ProviderError, and AppError as AccessTokens.get does.
        """
        async with self._backing_off():
            token = await self._access.tokens.get(self._mailbox)
            try:
                return await ask(token)
            except TokenRefusedError:
                return await ask(await self._access.tokens.replace(self._mailbox, token))

    async def call_with_new_token[T](self, ask: Callable[[str], Awaitable[T]]) -> T:
        """Call with a token other than the present one, which the provider refused for a part of a batch."""
        async with self._backing_off():
            refused = await self._access.tokens.get(self._mailbox)
            return await ask(await self._access.tokens.replace(self._mailbox, refused))

    @asynccontextmanager
    async def reserved(self, units: int, *, patience: float = SHORT_WAIT, live: bool = True) -> AsyncIterator[None]:
        """Take all of these units for the calls of the block; what they leave is given back when it ends.

        For calls that are worth nothing without the ones that follow. Where there are too few units, none is spent.
        Raises QuotaWaitError.
        """
        before = self._reserved
        await self._take_all(units, patience=patience, live=live)
        self._reserved += units
        try:
            yield
        finally:
            left = max(0, self._reserved - before)
            self._reserved -= left
            if left:
                await self._access.quota.give_back(self._mailbox.mailbox_id, left)

    async def take(self, units: int, *, patience: float = SHORT_WAIT, live: bool = True) -> None:
        """Take quota: from what is reserved, and the rest as long as it comes within `patience` seconds for each batch.

        Where there are too few units, none is spent. Raises QuotaWaitError.
        """
        drawn = min(units, self._reserved)
        self._reserved -= drawn
        try:
            await self._take_all(units - drawn, patience=patience, live=live)
        except BaseException:
            self._reserved += drawn
            raise
        self.units_taken += units

    async def _take_all(self, units: int, *, patience: float, live: bool) -> None:
        """Take units in parts, where a bucket does not hold that much, or none. Raises QuotaWaitError."""
        taken = 0
        try:
            while taken < units:
                part = min(units - taken, self._access.quota.burst)
                await self._take_part(part, patience=patience, live=live)
                taken += part
        except BaseException:
            if taken:
                await self._access.quota.give_back(self._mailbox.mailbox_id, taken)
            raise

    async def back_off(self, error: LimitError) -> None:
        """Make all processes leave the mailbox alone, or the whole project, as long as the provider wants."""
        mailbox_id = self._mailbox.mailbox_id
        if isinstance(error, TooConcurrentError):
            await self._access.concurrency_limit.lower(mailbox_id)
        await self._access.quota.pause(mailbox_id, error.retry_after, whole_project=error.whole_project)

    @asynccontextmanager
    async def _backing_off(self) -> AsyncIterator[None]:
        try:
            yield
        except LimitError as error:
            await self.back_off(error)
            raise

    async def _take_part(self, units: int, *, patience: float, live: bool) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                return await self._access.quota.take(self._mailbox.mailbox_id, units, live=live)
            except QuotaWaitError as wait:
                if time.monotonic() + wait.seconds > deadline:
                    raise
                await asyncio.sleep(wait.seconds)
