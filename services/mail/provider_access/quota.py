"""A provider's quota, shared by all workers: exact sliding windows of its buckets, and its day's count, in Redis.

Units count from their take until one window after the end of their call (quota_window.lua), so that no window of the
provider, fixed or sliding, exceeds the limit. Watermarks bound the units of a count that Redis has lost.
"""

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.provider_access.quota_scripts import SHARED_UNKNOWN, QuotaScripts, Request, Settled
from services.mail.provider_access.settlement import Report, Reports, Settlement, Taken
from services.mail.provider_access.watermarks import Level, Mark, NoWatermarks, Watermarks
from services.mail.providers.limits import UNITS, Per, ProviderLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """The project's units of the day, of the last window and per second, and the seconds until units are available.

    All are 0 for a provider without limits of the whole project. The day's used ones were counted: what a lost count is
    assumed to have been holds syncs back, but was not spent as far as anyone knows.
    """

    window_used: int
    day_used: int
    day_limit: int
    rate_limit: float
    paused: float


class QuotaScope(StrEnum):
    """The count that lacks units: the mailbox's, the project's or the day's; or the unreachable service."""

    MAILBOX = "mailbox"
    PROJECT = "project"
    DAY = "day"
    SERVICE = "service"


class QuotaWaitError(Exception):
    """Too few units. There will be enough in `seconds`, unless other callers take them."""

    def __init__(self, seconds: float, *, scope: QuotaScope = QuotaScope.MAILBOX) -> None:
        super().__init__(f"quota of the {scope}: wait {seconds:.3f} s")
        self.seconds = seconds
        self.scope = scope


class QuotaUnavailableError(QuotaWaitError):
    """Redis cannot be reached; without its count no call is safe."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds, scope=QuotaScope.SERVICE)


class Quota:
    """The account of a provider's units, taken before calls are made. Mailboxes are named by their provider identity.

    `now` gives the time for the day's budget. Tests replace Redis's clock by `redis_time`, and set `monotonic` with it.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        limits: ProviderLimits,
        watermarks: Watermarks | None = None,
        metrics: QuotaMetrics | None = None,
        now: Callable[[], float] = time.time,
        redis_time: Callable[[], float] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._scripts = QuotaScripts(redis, limits, now=now, redis_time=redis_time, monotonic=monotonic)
        self._windows = self._scripts.windows
        # The most units that a single take can get.
        self.most_units = min((window.burst for window in self._windows[UNITS]), default=limits.batch_units)
        self._shared = next((window for window in self._windows[UNITS] if window.is_shared), None)
        self._redis = redis
        self._watermarks = watermarks or NoWatermarks()
        self._metrics = metrics or QuotaMetrics(CollectorRegistry())
        self._monotonic = monotonic
        self._settlement = Settlement(self._report, monotonic=monotonic)
        # Units from `take_each` until the mailboxes' calls claim them.
        self._for_groups: dict[str, list[Taken]] = defaultdict(list)

    async def take(self, identity: str, units: int, *, counts: str = UNITS, more: int = 0, live: bool = True) -> Taken:
        """Take units for calls of this mailbox, at most `most_units`; settle them with `end` or `give_back`.

        Up to `more` units are taken in addition, as far as they remain and no mailbox waits for the project's.
        A take that is not `live` leaves a part of the day's and of each window's units, and queues behind other
        mailboxes that wait for the project's units, so that each gets its turn. Live takes do not wait for backfills.
        Raises QuotaWaitError, QuotaUnavailableError, and the database's errors if a watermark is due.
        """
        request = Request(counts=counts, more=more, live=live)
        try:
            outcomes = await self._take_all({identity: units}, request)
        except RedisError as error:
            raise QuotaUnavailableError(_UNAVAILABLE_SECONDS) from error
        outcome = outcomes[identity]
        if isinstance(outcome, QuotaWaitError):
            raise outcome
        return outcome

    async def take_each(self, units: Mapping[str, int]) -> dict[str, QuotaWaitError | None]:
        """Take units for an idle check of each mailbox, from the day's part for those; return the waits, None for none.

        The next call of the mailbox claims them: see `claim`.
        """
        try:
            outcomes = await self._take_all(units, Request(counts=UNITS, idle=True))
        except RedisError:
            return dict.fromkeys(units, QuotaUnavailableError(_UNAVAILABLE_SECONDS))
        for identity, taken in outcomes.items():
            if isinstance(taken, Taken):
                self._for_groups[identity].append(taken)
        return {id_: wait if isinstance(wait, QuotaWaitError) else None for id_, wait in outcomes.items()}

    def claim(self, identity: str) -> Taken | None:
        """Return the units that `take_each` took for the mailbox's next call, if any."""
        taken = self._for_groups.pop(identity, [])
        if len(taken) > 1:
            # Several mailboxes have this identity.
            self._for_groups[identity] = taken[1:]
        return taken[0] if taken else None

    def end(self, taken: Taken) -> None:
        """Report the end of the call: its units come back one window later."""
        self._settlement.report(taken, used=True)

    def give_back(self, taken: Taken) -> None:
        """Return units whose call was not made."""
        self._settlement.report(taken, used=False)

    async def flush(self) -> None:
        """Send the reports to Redis. Units of a lost report stay counted until the longest call would have ended."""
        await self._settlement.flush()

    async def close(self) -> None:
        """Send the reports; later ones are sent with the next take only. For the time before Redis is closed."""
        await self._settlement.close()

    async def use(self) -> QuotaUse:
        """Return the use of the project's quota. Raises RedisError."""
        await self.flush()
        shared = self._shared
        window_used, paused = (0, 0.0) if shared is None else await self._scripts.use(shared)
        day = self._scripts.day
        return QuotaUse(
            window_used=window_used,
            day_used=await self._day_used(),
            day_limit=0 if day is None else day.bucket.limit,
            rate_limit=0.0 if shared is None else shared.bucket.limit / shared.bucket.window,
            paused=paused,
        )

    async def _day_used(self) -> int:
        day = self._scripts.day
        if day is None:
            return 0
        counted, _, assumed = await self._redis.mget(day.keys())
        return int(counted or 0) - int(assumed or 0)

    async def pause(self, identity: str, seconds: float, *, whole_project: bool) -> None:
        """Stop all workers' calls of the mailbox, or of the project, for `seconds`; no burst follows.

        Without limits of the whole project it stops the mailbox's calls alone.
        """
        units = self._windows[UNITS]
        closed = [window for window in units if window.is_shared is whole_project] or (units if whole_project else ())
        for window in closed:
            # Without Redis no units are available anyway.
            with contextlib.suppress(RedisError):
                await self._scripts.pause(window, identity, seconds)

    async def is_met_by_others(self, identity: str, *, seconds: float) -> bool:
        """Return whether another mailbox than this one has met the provider's limit within the last `seconds`.

        Call it for each mailbox that meets a limit of which the provider does not say whether it is the mailbox's own.
        """
        if self._shared is None:
            return False
        try:
            last = await self._redis.set(
                f"{self._shared.key('')}:met_by", identity, px=max(1, math.ceil(seconds * 1000)), get=True
            )
        except RedisError:
            return False
        return last not in (None, identity)

    async def _take_all(self, units: Mapping[str, int], request: Request) -> dict[str, Taken | QuotaWaitError]:
        """Take units for each mailbox, or the wait until they are available. Raises RedisError."""
        outcomes: dict[str, Taken | QuotaWaitError] = {}
        asked, many, shared_owe = dict(units), set[str](), None
        while asked:
            marks = await self._marks(asked, request.counts, many=many)
            answers = await self._run(asked, marks, request, shared_owe=shared_owe)
            for identity, answer in answers.items():
                match answer:
                    case [1, taken, *slots]:
                        outcomes[identity] = Taken(
                            identity=identity, counts=request.counts, units=taken, slots=tuple(slots)
                        )
                    case [0, wait_ms, place]:
                        outcomes[identity] = self._wait(max(0.001, wait_ms / 1000), request.counts, place)
                    case [code] if code == SHARED_UNKNOWN:
                        shared_owe = await self._shared_owe(request.counts)
                    case _:
                        many.add(identity)
            if request.counts == UNITS:
                self._watermarks.called(id_ for id_ in asked if isinstance(outcomes.get(id_), Taken))
            asked = {id_: wanted for id_, wanted in asked.items() if id_ not in outcomes}
        return outcomes

    async def _marks(self, units: Mapping[str, int], counts: str, *, many: Collection[str]) -> Mapping[str, Mark]:
        """Return what the mailboxes' marks allow: marks are for units, and a lost count of anything else owes nothing.

        Such a count ends with its window: logins would wait for one after an hour without any.
        """
        if counts != UNITS:
            return dict.fromkeys(units, Mark(allows=Level.MANY, owes=Level.NONE))
        return await self._watermarks.cover(units, many=many)

    async def _shared_owe(self, counts: str) -> dict[str, int]:
        """Return the units that lost counts of the shared windows owe, by the names of their buckets."""
        windows = self._windows[counts]
        if counts != UNITS:
            return {window.bucket.name: 0 for window in windows if window.is_shared}
        recent = await self._watermarks.recent()
        most = {
            level: min((window.units(level) for window in windows if not window.is_shared), default=_NO_LIMIT)
            for level in (Level.FEW, Level.MANY)
        }
        owed = recent.many * most[Level.MANY] + recent.few * most[Level.FEW]
        return {window.bucket.name: min(window.bucket.limit, owed) for window in windows if window.is_shared}

    async def _run(
        self,
        units: Mapping[str, int],
        marks: Mapping[str, Mark],
        request: Request,
        *,
        shared_owe: Mapping[str, int] | None,
    ) -> dict[str, list[int]]:
        """Run the script for each mailbox in one round trip; return its answers. Raises RedisError."""
        reports = {id_: self._settlement.draw(request.counts, id_) for id_ in units}
        takes = [
            partial(
                self._scripts.take,
                identity=id_,
                units=wanted,
                request=request,
                mark=marks[id_],
                shared_owe=shared_owe,
                settled=self._settled(reports[id_]),
            )
            for id_, wanted in units.items()
        ]
        asked_at = self._scripts.begin()
        try:
            answers = await self._send(takes)
        except RedisError as error:
            self._metrics.lost(error)
            self._metrics.waited(QuotaScope.SERVICE)
            raise
        self._metrics.reached()
        said = [self._scripts.read(answer, asked_at=asked_at) for answer in answers]
        by_identity = dict(zip(units, said, strict=True))
        for identity, answer in by_identity.items():
            if answer == [SHARED_UNKNOWN]:
                self._settlement.put_back(request.counts, identity, reports[identity])
        return by_identity

    async def _send(self, scripts: Sequence[Callable[[Redis], Awaitable[Any]]]) -> list[Any]:
        """Run scripts in one round trip; return their answers. Raises RedisError."""
        if len(scripts) == 1:
            return [await scripts[0](self._redis)]
        # One that fails keeps its connection until it is closed.
        async with self._redis.pipeline(transaction=False) as pipeline:
            for script in scripts:
                await script(pipeline)
            return await pipeline.execute()

    async def _report(self, reports: Reports) -> None:
        """Send reports without a take."""
        scripts = [
            partial(
                self._scripts.take,
                identity=identity,
                units=0,
                request=Request(counts=counts),
                mark=Mark(allows=Level.NONE, owes=Level.MANY),
                shared_owe=None,
                settled=self._settled(some),
            )
            for (counts, identity), some in reports.items()
            if some
        ]
        with contextlib.suppress(RedisError):
            await self._send(scripts)

    def _settled(self, reports: Sequence[Report]) -> Iterator[Settled]:
        # As each script is sent, so that none tells less than the seconds since the call's end.
        return (report.settled(self._monotonic()) for report in reports)

    def _wait(self, seconds: float, counts: str, place: int) -> QuotaWaitError:
        windows = self._windows[counts]
        scope = QuotaScope.DAY if place > len(windows) else _SCOPES[windows[place - 1].bucket.per]
        self._metrics.waited(scope)
        return QuotaWaitError(seconds, scope=scope)


# Seconds until the next attempt while Redis cannot be reached.
_UNAVAILABLE_SECONDS: Final = 1.0
# Units of a mailbox without limits of its own.
_NO_LIMIT: Final = 10**12
_SCOPES: Final = {Per.MAILBOX: QuotaScope.MAILBOX, Per.PROJECT: QuotaScope.PROJECT}
