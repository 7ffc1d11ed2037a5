"""Watermarks: upper bounds of recent calls, kept in Postgres for the case that Redis loses its counts.

A mailbox's row is written before its calls. It says until when calls may run, and whether they may use few units or
many. A lost count owes nothing if no call was marked within the last window, and else as much as the mark allows. Rows
are written ahead and cached here: at most one write per mailbox and minute, or one in six hours while the use stays
small.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from services.mail.store.connection import Pool
from services.mail.store.control import quota_watermarks as store

# Units that a mailbox may have in use under the mark for few: idle checks, but no message.
FEW_UNITS: Final = 10
# Idle checks come far apart: a mark for each would be a write for each.
_FEW_SECONDS: Final = 6 * 3600.0
_MANY_SECONDS: Final = 60.0
# Seconds for which this process's knowledge before a mark holds. Another process may have marked since.
_FRESH_SECONDS: Final = 2.0
# Cached marks beyond which expired ones are dropped.
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The units that a mailbox's mark allows to be in use, and those that a lost count owes."""

    allowed: int
    owes: int


class Watermarks(Protocol):
    """Marks calls before they are made. Methods raise the database's errors."""

    async def cover(self, units: Mapping[int, int], *, many: Collection[int] = ()) -> Mapping[int, Mark]:
        """Mark mailboxes for taking these units; those in `many` for their whole limit."""
        ...

    def called(self, mailbox_ids: Iterable[int]) -> None:
        """Record that units were taken under the marks."""
        ...

    async def project_owes(self) -> int:
        """Return the units that all marked mailboxes together may have used within the last window."""
        ...


class NoWatermarks:
    """No watermarks: every lost count owes the whole window."""

    def __init__(self, *, mailbox_limit: int, project_limit: int) -> None:
        self._mark = Mark(allowed=mailbox_limit, owes=mailbox_limit)
        self._project_limit = project_limit

    async def cover(self, units: Mapping[int, int], *, many: Collection[int] = ()) -> Mapping[int, Mark]:  # noqa: ARG002 - the port's
        """Allow the whole limit."""
        return dict.fromkeys(units, self._mark)

    def called(self, mailbox_ids: Iterable[int]) -> None:
        """Do nothing."""

    async def project_owes(self) -> int:
        """Return the whole limit."""
        return self._project_limit


@dataclass(slots=True)
class _Marked:
    """A mark as this process knows it. Times are monotonic."""

    few_until: float = 0.0
    many_until: float = 0.0
    # Units owed before this mark, while none were taken under it.
    owed: int = 0
    fresh_until: float = 0.0


class PostgresWatermarks:
    """Watermarks in mail's database. `window` and `longest_call` are in seconds."""

    def __init__(
        self,
        pool: Pool,
        *,
        mailbox_limit: int,
        window: float,
        longest_call: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._limit = mailbox_limit
        self._few = min(FEW_UNITS, mailbox_limit)
        self._window = window
        self._longest_call = longest_call
        self._monotonic = monotonic
        self._marked: dict[int, _Marked] = {}
        self._prune_at = 0.0

    async def cover(self, units: Mapping[int, int], *, many: Collection[int] = ()) -> Mapping[int, Mark]:
        """Mark the mailboxes whose mark does not cover these units."""
        now = self._monotonic()
        to_many = {id_ for id_, wanted in units.items() if id_ in many or wanted > self._few}
        await self._mark([id_ for id_ in to_many if self._of(id_).many_until <= now], many=True, now=now)
        uncovered = [id_ for id_ in units if max(self._of(id_).few_until, self._of(id_).many_until) <= now]
        await self._mark(uncovered, many=False, now=now)
        return {id_: self._mark_of(self._of(id_)) for id_ in units}

    def called(self, mailbox_ids: Iterable[int]) -> None:
        """Record that a lost count now owes what the mark allows."""
        for mailbox_id in mailbox_ids:
            if marked := self._marked.get(mailbox_id):
                marked.fresh_until = 0.0

    async def project_owes(self) -> int:
        """Return the sum of the units that recent marks allow."""
        async with self._pool.acquire() as connection:
            recent = await store.count_recent(connection, within_seconds=self._window)
        return recent.many * self._limit + recent.few * self._few

    def _of(self, mailbox_id: int) -> _Marked:
        return self._marked.get(mailbox_id, _Marked())

    def _mark_of(self, marked: _Marked) -> Mark:
        now = self._monotonic()
        allowed = self._limit if marked.many_until > now else self._few
        return Mark(allowed=allowed, owes=marked.owed if marked.fresh_until > now else allowed)

    async def _mark(self, mailbox_ids: list[int], *, many: bool, now: float) -> None:
        if not mailbox_ids:
            return
        seconds = _MANY_SECONDS if many else _FEW_SECONDS
        async with self._pool.acquire() as connection:
            before = await store.mark(
                connection,
                sorted(mailbox_ids),
                many=many,
                seconds=seconds + self._longest_call,
                within_seconds=self._window,
            )
            if now >= self._prune_at:
                self._prune_at = now + _FEW_SECONDS
                await store.forget(connection, older_seconds=_FEW_SECONDS + 2 * self._window)
        self._forget_ended(now)
        for mailbox_id in mailbox_ids:
            self._remember(mailbox_id, before[mailbox_id], many=many, now=now)

    def _remember(self, mailbox_id: int, before: store.Recent, *, many: bool, now: float) -> None:
        marked = self._of(mailbox_id)
        if many and now < marked.few_until and now < marked.fresh_until:
            # The current mark for few is this process's own, and no units were taken under it.
            owed = marked.owed
        else:
            owed = self._limit if before.many else self._few if before.few else 0
        marked.owed, marked.fresh_until = owed, now + _FRESH_SECONDS
        if many:
            marked.many_until = now + _MANY_SECONDS
        else:
            marked.few_until = now + _FEW_SECONDS
        self._marked[mailbox_id] = marked

    def _forget_ended(self, now: float) -> None:
        if len(self._marked) > _REMEMBERED:
            self._marked = {
                id_: marked for id_, marked in self._marked.items() if max(marked.few_until, marked.many_until) > now
            }
