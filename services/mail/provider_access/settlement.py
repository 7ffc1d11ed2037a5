"""The ends of calls, reported to Redis with the next take of the mailbox, or a moment later."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.mail.provider_access.quota_scripts import NOT_USED, Settled
from services.mail.providers.limits import UNITS

# Seconds after which reports are sent without a take. The takes of a sync come more often.
_FLUSH_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Units of calls whose end is not reported, and the slots in which they come back without a report.

    `counts` is what they are units of; each of its buckets has a slot.
    """

    identity: str
    counts: str = UNITS
    units: int
    slots: tuple[int, ...]

    def split(self, units: int) -> tuple["Taken", "Taken"]:
        """Split off this many units; return them and the rest."""
        return replace(self, units=units), replace(self, units=self.units - units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The report that a call has ended or was not made. `at` is monotonic."""

    taken: Taken
    used: bool
    at: float

    def settled(self, now: float) -> Settled:
        """Return the report as the scripts are told it, with the least seconds since the call's end."""
        ago = now - self.at if self.used else NOT_USED
        return Settled(units=self.taken.units, ago=ago, slots=self.taken.slots)


# By what is counted and by identity.
type Reports = Mapping[tuple[str, str], Sequence[Report]]


class Settlement:
    """The reports that Redis has not been told. `send` sends some; those that are lost on the way are not repeated."""

    def __init__(self, send: Callable[[Reports], Awaitable[None]], *, monotonic: Callable[[], float]) -> None:
        self._send = send
        self._monotonic = monotonic
        self._reports: dict[tuple[str, str], list[Report]] = defaultdict(list)
        self._flush_handle: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._is_closed = False

    def report(self, taken: Taken, *, used: bool) -> None:
        """Report that a call has ended, or was not made."""
        report = Report(taken=taken, used=used, at=self._monotonic())
        self._reports[taken.counts, taken.identity].append(report)
        if self._flush_handle is None and not self._is_closed:
            self._flush_handle = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._begin_flush)

    def draw(self, counts: str, identity: str) -> list[Report]:
        """Return the reports of a mailbox for the caller to send."""
        return self._reports.pop((counts, identity), [])

    def put_back(self, counts: str, identity: str, reports: Sequence[Report]) -> None:
        """Keep reports that were drawn and not taken in."""
        self._reports[counts, identity] = [*reports, *self._reports[counts, identity]]

    async def flush(self) -> None:
        """Send the reports."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if self._flushing is not None:
            await self._flushing
        await self._flush()

    async def close(self) -> None:
        """Send the reports; later ones are drawn only."""
        self._is_closed = True
        await self.flush()

    def _begin_flush(self) -> None:
        self._flush_handle = None
        self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        reports, self._reports = self._reports, defaultdict(list)
        if any(reports.values()):
            await self._send(reports)
