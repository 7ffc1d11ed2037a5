"""Calls of a provider: they take quota, repeat lost calls, and back off at the provider's limits."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import structlog

from services.mail.model import Mailbox, Measure
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.provider_tokens import MailboxTokens, ProviderTokenCache
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.provider_access.settlement import Taken
from services.mail.providers.base import MailboxSession, Provider, Writing
from services.mail.providers.errors import (
    LimitError,
    NoAnswerError,
    OwnLimitError,
    TooConcurrentError,
    UnclearLimitError,
)
from services.mail.usage import UsageCounter

# Default wait for quota in seconds: less than claiming the mailbox again costs.
SHORT_WAIT = 0.1
# Seconds to wait for the second part of a take and for each further one.
_PATIENCE_BETWEEN_PARTS = 10.0
# Seconds to wait for the units of a repeat.
_PATIENCE_FOR_REPEATS = 2.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccess:
    """The parts of provider calls that a process shares; quotas by provider."""

    quotas: Mapping[str, Quota]
    concurrency_limit: ConcurrencyLimit
    tokens: ProviderTokenCache
    usage: UsageCounter = field(default_factory=UsageCounter)

    async def close(self) -> None:
        """Send what was not reported yet to Redis, before it is closed."""
        for quota in self.quotas.values():
            await quota.close()

    def calls(self, mailbox: Mailbox) -> "ProviderCalls":
        """Return the calls for a mailbox."""
        return ProviderCalls(mailbox, self)

    def tokens_of(self, mailbox: Mailbox) -> MailboxTokens:
        """Return the access tokens of a mailbox."""
        return MailboxTokens(self.tokens, mailbox)

    def open(
        self, provider: Provider, mailbox: Mailbox, *, writing: Writing | None
    ) -> AbstractAsyncContextManager[MailboxSession]:
        """Open a session with a mailbox, as `Provider.open` does."""
        return provider.open(mailbox, self.tokens_of(mailbox), writing=writing)


@dataclass(slots=True)
class _Call:
    """A call under way; `lost_units` are those of parts that got no answer."""

    lost_units: int = 0


class ProviderCalls:
    """Calls of a provider for a single mailbox, one at a time. `units_taken` counts their quota units."""

    def __init__(self, mailbox: Mailbox, access: ProviderAccess) -> None:
        self.units_taken = 0
        # Units taken by `reserved` and not yet by a call.
        self._reserved: list[Taken] = []
        # Units of the next call.
        self._prepaid: list[Taken] = []
        # Units of a call without an answer, and whether a repeat of it is live.
        self._lost: list[Taken] = []
        self._live = True
        self._mailbox = mailbox
        self._identity = mailbox.identity
        self._quota = access.quotas[mailbox.provider]
        self._concurrency_limit = access.concurrency_limit
        self._tokens = access.tokens
        self._usage = access.usage

    async def call[T](
        self, units: int, ask: Callable[[], Awaitable[T]], *, patience: float = SHORT_WAIT, live: bool = True
    ) -> T:
        """Take quota, then call. Raises the errors of `take` and `call_prepaid`."""
        await self.take(units, patience=patience, live=live)
        return await self.call_prepaid(ask)

    async def call_prepaid[T](
        self, ask: Callable[[], Awaitable[T]], *, lost_units: Callable[[T], int] = lambda _: 0
    ) -> T:
        """Call with quota taken before: `ask` makes one call of a session.

        Providers do not count what a session repeats with another token. A provider's limit pauses all processes. A
        call without an answer is repeated at once, over a new connection and for the same units again, unless these
        come too late. `lost_units` tells from the answer the units of those parts of the call that got none: they may
        still reach the provider. Raises what `ask` raises.
        """
        try:
            return await self._call_once(ask, lost_units)
        except NoAnswerError as error:
            if not await self._take_again():
                raise
            mailbox_id = self._mailbox.mailbox_id
            log.warning("a call without an answer is repeated", mailbox_id=mailbox_id, detail=error.detail)
        return await self._call_once(ask, lost_units)

    async def _call_once[T](self, ask: Callable[[], Awaitable[T]], lost_units: Callable[[T], int]) -> T:
        await self._look_up_token()
        async with self._counted_until_its_end() as call:
            try:
                answer = await ask()
            except LimitError as error:
                await self.back_off(error)
                raise
            call.lost_units = lost_units(answer)
            return answer

    async def _look_up_token(self) -> None:
        """Look up the token that the call needs; give its units back if none can be had: nothing is sent then."""
        try:
            await self._tokens.get(self._mailbox)
        except BaseException:
            self._prepaid, unused = [], self._prepaid
            self._count(-_sum(unused))
            for taken in unused + self._claimed():
                self._quota.give_back(taken)
            raise

    def _claimed(self) -> list[Taken]:
        claimed = self._quota.claim(self._identity)
        return [] if claimed is None else [claimed]

    async def _take_again(self) -> bool:
        """Take the units of the lost call anew. None come from reservations: these are for the calls that follow."""
        units = _sum(self._lost)
        try:
            self._prepaid += await self._take_all(units, patience=_PATIENCE_FOR_REPEATS, live=self._live)
        except QuotaWaitError:
            return False
        self._count(units)
        return True

    @property
    def reserved_units(self) -> int:
        """The units taken by `reserved` and not yet by a call."""
        return _sum(self._reserved)

    @asynccontextmanager
    async def reserved(
        self, units: int, *, more: int = 0, patience: float = SHORT_WAIT, live: bool = True
    ) -> AsyncIterator[None]:
        """Take all of these units for the calls of the block; give back the rest at its end.

        For calls that are useless without the ones that follow. Takes all units or none, and up to `more` of those that
        remain then. Raises QuotaWaitError.
        """
        before = _sum(self._reserved)
        self._reserved += await self._take_all(units, more=more, patience=patience, live=live)
        try:
            yield
        finally:
            for taken in _draw(self._reserved, max(0, _sum(self._reserved) - before)):
                self._quota.give_back(taken)

    async def take(self, units: int, *, patience: float = SHORT_WAIT, live: bool = True) -> None:
        """Take quota for the next call, reserved units first; wait up to `patience` seconds for the rest.

        Takes all units or none. Raises QuotaWaitError.
        """
        drawn = _draw(self._reserved, min(units, _sum(self._reserved)))
        try:
            drawn += await self._take_all(units - _sum(drawn), patience=patience, live=live)
        except BaseException:
            self._reserved += drawn
            raise
        self._prepaid += drawn
        self._live = live
        self._count(units)

    def _count(self, units: int) -> None:
        """Count units that were taken, or with a negative number, units given back."""
        self.units_taken += units
        self._usage.count(self._mailbox.mailbox_id, Measure.PROVIDER_UNITS, units)

    async def _take_all(self, units: int, *, more: int = 0, patience: float, live: bool) -> list[Taken]:
        """Take all units, in parts if they exceed what can be taken at once, or none. Raises QuotaWaitError.

        The last part comes with up to `more` units.
        """
        parts: list[Taken] = []
        try:
            while (left := units - _sum(parts)) > 0:
                part = min(left, self._quota.most_units)
                # To give up after a part would return it, and the next attempt would come to the same point.
                enough = max(patience, _PATIENCE_BETWEEN_PARTS) if parts else patience
                extra = more if part == left else 0
                parts.append(await self._take_part(part, more=extra, patience=enough, live=live))
        except BaseException:
            for taken in parts:
                self._quota.give_back(taken)
            raise
        return parts

    async def back_off(self, error: LimitError) -> None:
        """Pause the mailbox, or the whole project, in all processes for as long as the provider asks."""
        if isinstance(error, OwnLimitError):
            return
        if isinstance(error, TooConcurrentError):
            await self._concurrency_limit.lower(self._identity, most=self._quota.limits.concurrency)
        whole_project = error.whole_project
        if isinstance(error, UnclearLimitError):
            whole_project = await self._quota.is_met_by_others(self._identity, seconds=error.retry_after)
        await self._quota.pause(self._identity, error.retry_after, whole_project=whole_project)

    @asynccontextmanager
    async def _counted_until_its_end(self) -> AsyncIterator[_Call]:
        """Report the end of a call. A cancelled call may still reach the provider, so its units come back later."""
        claimed = self._claimed()
        self._usage.count(self._mailbox.mailbox_id, Measure.PROVIDER_UNITS, _sum(claimed))
        prepaid, self._prepaid = self._prepaid + claimed, []
        call = _Call()
        try:
            yield call
        except asyncio.CancelledError:
            raise
        except NoAnswerError:
            self._lost = prepaid
            raise
        except BaseException:
            self._end(prepaid)
            raise
        _draw(prepaid, call.lost_units)
        self._end(prepaid)

    def _end(self, prepaid: list[Taken]) -> None:
        for taken in prepaid:
            self._quota.end(taken)

    async def _take_part(self, units: int, *, more: int, patience: float, live: bool) -> Taken:
        deadline = time.monotonic() + patience
        while True:
            try:
                return await self._quota.take(self._identity, units, more=more, live=live)
            except QuotaWaitError as wait:
                if time.monotonic() + wait.seconds > deadline:
                    raise
                await asyncio.sleep(wait.seconds)


def _draw(units_taken: list[Taken], units: int) -> list[Taken]:
    """Draw so many units, the most recent ones first; those that are left stay."""
    drawn = []
    while units > 0:
        taken = units_taken.pop()
        if taken.units > units:
            taken, rest = taken.split(units)
            units_taken.append(rest)
        drawn.append(taken)
        units -= taken.units
    return drawn


def _sum(taken: Iterable[Taken]) -> int:
    return sum(part.units for part in taken)
