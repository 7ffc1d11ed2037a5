"""Watermarks: upper bounds of recent calls, kept in Postgres for the case that Redis loses its counts.

A mailbox's row is written before its calls. It says until when calls may run, and whether they may use few units or
many. A lost count owes nothing if no call was marked within the last window, and else as much as the mark allows. Rows
are written ahead and cached here: at most one write per mailbox and minute, or one in half a day while the use stays
small. Mailboxes are named by their provider identity.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from services.mail.providers.limits import UNITS, ProviderLimits
from services.mail.store.connection import Pool
from services.mail.store.control import quota_watermarks as store
from services.mail.store.control.quota_watermarks import Recent

# Units of a bucket that a mailbox may have in use under the mark for few: idle checks, but no message.
FEW_UNITS: Final = 10
# Idle checks come far apart: a mark for each would be a write for each. Marks twice as often would be two fifths of all
# rows that checks of quiet mailboxes write (benchmarks/day_of_mailboxes.py).
_FEW_SECONDS: Final = 12 * 3600.0
_MANY_SECONDS: Final = 60.0
# Seconds for which this process's knowledge before a mark holds. Another process may have marked since.
_FRESH_SECONDS: Final = 2.0
# Cached marks beyond which expired ones are dropped.
_REMEMBERED: Final = 10_000


class Level(IntEnum):
    """Units of each of a mailbox's buckets that are in use at most: none, FEW_UNITS, or the bucket's limit."""

    NONE = 0
    FEW = 1
    MANY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The level that a mailbox's mark allows to be in use, and the one that a lost count owes."""

    allows: Level
    owes: Level


class Watermarks(Protocol):
    """Marks calls before they are made. Methods raise the database's errors."""

    async def cover(self, units: Mapping[str, int], *, many: Collection[str] = ()) -> Mapping[str, Mark]:
        """Mark mailboxes for taking these units; those in `many` for their whole limit."""
        ...

    def called(self, identities: Iterable[str]) -> None:
        """Record that units were taken under the marks."""
        ...

    async def recent(self) -> Recent:
        """Count the provider's mailboxes that may have used units within the last window."""
        ...


class NoWatermarks:
    """No watermarks: every lost count owes the whole window."""

    async def cover(self, units: Mapping[str, int], *, many: Collection[str] = ()) -> Mapping[str, Mark]:  # noqa: ARG002 - the port's
        """Allow the whole limit."""
        return dict.fromkeys(units, Mark(allows=Level.MANY, owes=Level.MANY))

    def called(self, identities: Iterable[str]) -> None:
        """Do nothing."""

    async def recent(self) -> Recent:
        """Count more mailboxes than any limit allows."""
        return Recent(many=10**6, few=0)


@dataclass(slots=True)
class _Marked:
    """A mark as this process knows it. Times are monotonic."""

    few_until: float = 0.0
    many_until: float = 0.0
    # What was owed before this mark, while no units were taken under it.
    owed: Level = Level.NONE
    fresh_until: float = 0.0


class PostgresWatermarks:
    """A provider's watermarks in mail's database."""

    def __init__(
        self, pool: Pool, provider: str, limits: ProviderLimits, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._provider = provider
        # Of a bucket with a shorter window a lost count owes more than it has to.
        self._window = max((bucket.window for bucket in limits.counting(UNITS)), default=0.0)
        self._longest_call = limits.longest_call
        self._monotonic = monotonic
        self._marked: dict[str, _Marked] = {}
        self._prune_at = 0.0

    async def cover(self, units: Mapping[str, int], *, many: Collection[str] = ()) -> Mapping[str, Mark]:
        """Mark the mailboxes whose mark does not cover these units."""
        now = self._monotonic()
        to_many = {id_ for id_, wanted in units.items() if id_ in many or wanted > FEW_UNITS}
        await self._mark([id_ for id_ in to_many if self._of(id_).many_until <= now], many=True, now=now)
        uncovered = [id_ for id_ in units if max(self._of(id_).few_until, self._of(id_).many_until) <= now]
        await self._mark(uncovered, many=False, now=now)
        return {id_: self._mark_of(self._of(id_)) for id_ in units}

    def called(self, identities: Iterable[str]) -> None:
        """Record that a lost count now owes what the mark allows."""
        for identity in identities:
            if marked := self._marked.get(identity):
                marked.fresh_until = 0.0

    async def recent(self) -> Recent:
        """Count the mailboxes with recent marks."""
        async with self._pool.acquire() as connection:
            return await store.count_recent(connection, self._provider, within_seconds=self._window)

    def _of(self, identity: str) -> _Marked:
        return self._marked.get(identity, _Marked())

    def _mark_of(self, marked: _Marked) -> Mark:
        now = self._monotonic()
        allows = Level.MANY if marked.many_until > now else Level.FEW
        return Mark(allows=allows, owes=marked.owed if marked.fresh_until > now else allows)

    async def _mark(self, identities: list[str], *, many: bool, now: float) -> None:
        if not identities:
            return
        seconds = _MANY_SECONDS if many else _FEW_SECONDS
        async with self._pool.acquire() as connection:
            before = await store.mark(
                connection,
                self._provider,
                sorted(identities),
                many=many,
                seconds=seconds + self._longest_call,
                within_seconds=self._window,
            )
            if now >= self._prune_at:
                self._prune_at = now + _FEW_SECONDS
                await store.forget(connection, older_seconds=_FEW_SECONDS + 2 * self._window)
        self._forget_ended(now)
        for identity in identities:
            self._remember(identity, before[identity], many=many, now=now)

    def _remember(self, identity: str, before: Recent, *, many: bool, now: float) -> None:
        marked = self._of(identity)
        if many and now < marked.few_until and now < marked.fresh_until:
            # The current mark for few is this process's own, and no units were taken under it.
            owed = marked.owed
        else:
            owed = Level.MANY if before.many else Level.FEW if before.few else Level.NONE
        marked.owed, marked.fresh_until = owed, now + _FRESH_SECONDS
        if many:
            marked.many_until = now + _MANY_SECONDS
        else:
            marked.few_until = now + _FEW_SECONDS
        self._marked[identity] = marked

    def _forget_ended(self, now: float) -> None:
        if len(self._marked) > _REMEMBERED:
            self._marked = {
                id_: marked for id_, marked in self._marked.items() if max(marked.few_until, marked.many_until) > now
            }
