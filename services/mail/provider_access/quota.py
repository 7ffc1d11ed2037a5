"""Provider quota, shared by all workers: exact sliding windows per mailbox and for the project, in Redis.

Units count from their take until one window after the end of their call (quota_window.lua), so that no window of the
provider, fixed or sliding, exceeds the limit. Watermarks bound the units of a count that Redis has lost.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import resources
from typing import Any, Final

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.provider_access.watermarks import Mark, NoWatermarks, Watermarks
from services.mail.providers.base import UnitCosts


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaProfile:
    """A provider's limits per window for a mailbox and for the whole project, and the units of each call."""

    mailbox_limit: int
    project_limit: int
    # Length of the window in seconds.
    window: float
    costs: UnitCosts
    # Units per day for the whole project, and the part of them that backfills leave to live mail.
    daily_limit: int
    live_reserve: float = 0.1
    # The part of the day's units for idle checks, spent evenly; the rest of it goes to backfills with time.
    idle_share: float = 0.25
    # Start of the provider's day in seconds after midnight UTC.
    day_begins: float = 0
    # The part of a limit that may be spent at once; the rest is paced evenly over the window.
    burst: float = 5 / 12
    # The part of a limit that backfills leave to live mail in each window.
    live_share: float = 0.02
    # Seconds after which a call without a reported end counts as ended.
    longest_call: float = 130.0


def check_fits(profile: QuotaProfile, batch_units: int) -> None:
    """Raise ValueError if a batch leaves a mailbox no units for other calls, or other mailboxes no turn."""
    most = min(profile.mailbox_limit - 1, profile.project_limit // 2)
    if batch_units > most:
        raise ValueError(f"the quota does not allow batches of {batch_units} units, {most} at most")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limit:
    """Units per window, the part kept for live mail, and the part that may be spent at once."""

    window: int
    live: int
    burst: int


def _limit(profile: QuotaProfile, units: int, *, batch_units: int) -> _Limit:
    live = min(int(units * profile.live_share), units - batch_units)
    return _Limit(window=units, live=live, burst=min(units - live, max(batch_units, int(units * profile.burst))))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """The project's units of the day, of the last window and per second, and the seconds until units are available."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """The report that a call has ended or was not made. `at` is monotonic."""

    taken: "Taken"
    used: bool
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Units of calls whose end is not reported, and the slots in which they come back without a report."""

    mailbox_id: int
    units: int
    mailbox_slot: int
    project_slot: int

    def split(self, units: int) -> tuple["Taken", "Taken"]:
        """Split off this many units; return them and the rest."""
        return replace(self, units=units), replace(self, units=self.units - units)


class Quota:
    """A count of units, taken before calls are made. `batch_units` are the units of a batch of messages.

    `now` gives the time for the day's budget. Tests replace Redis's clock by `redis_time`, and set `monotonic` with it.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        profile: QuotaProfile,
        batch_units: int,
        watermarks: Watermarks | None = None,
        metrics: QuotaMetrics | None = None,
        now: Callable[[], float] = time.time,
        redis_time: Callable[[], float] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        check_fits(profile, batch_units)
        self.profile = profile
        self.batch_units = batch_units
        self._mailbox = _limit(profile, profile.mailbox_limit, batch_units=batch_units)
        self._project = _limit(profile, profile.project_limit, batch_units=batch_units)
        # The most units that a single take can get.
        self.most_units = min(self._mailbox.burst, self._project.burst)
        self._redis = redis
        self._watermarks = watermarks or NoWatermarks(
            mailbox_limit=profile.mailbox_limit, project_limit=profile.project_limit
        )
        self._metrics = metrics or QuotaMetrics(CollectorRegistry())
        self._now = now
        self._redis_time = redis_time
        self._monotonic = monotonic
        self._take = redis.register_script(_script("quota_take.lua"))
        self._pause = redis.register_script(_script("quota_pause.lua"))
        self._use = redis.register_script(_script("quota_use.lua"))
        # Reports by mailbox, sent to Redis with the next take or by `flush`.
        self._settled: dict[int, list[_Report]] = {}
        self._flush_handle: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        # Units from `take_each` until the mailbox's call claims them.
        self._for_groups: dict[int, Taken] = {}

    async def take(self, mailbox_id: int, units: int, *, more: int = 0, live: bool = True) -> Taken:
        """Take units for calls of this mailbox, at most `most_units`; settle them with `end` or `give_back`.

        Up to `more` units are taken in addition, as far as they remain and no mailbox waits for the project's.
        A take that is not `live` leaves a part of the day's and of each window's units, and queues behind other
        mailboxes that wait for the project's units, so that each gets its turn. Live takes do not wait for backfills.
        Raises QuotaWaitError, QuotaUnavailableError, and the database's errors if a watermark is due.
        """
        try:
            outcomes = await self._take_all({mailbox_id: units}, more=more, live=live)
        except RedisError as error:
            raise QuotaUnavailableError(_UNAVAILABLE_SECONDS) from error
        outcome = outcomes[mailbox_id]
        if isinstance(outcome, QuotaWaitError):
            raise outcome
        return outcome

    async def take_each(self, units: Mapping[int, int]) -> dict[int, QuotaWaitError | None]:
        """Take units for an idle check of each mailbox, from the day's part for those; return the waits, None for none.

        The next call of the mailbox claims them: see `claim`.
        """
        try:
            outcomes = await self._take_all(units, live=True, idle=True)
        except RedisError:
            return dict.fromkeys(units, QuotaUnavailableError(_UNAVAILABLE_SECONDS))
        self._for_groups |= {id_: taken for id_, taken in outcomes.items() if isinstance(taken, Taken)}
        return {id_: wait if isinstance(wait, QuotaWaitError) else None for id_, wait in outcomes.items()}

    def claim(self, mailbox_id: int) -> Taken | None:
        """Return the units that `take_each` took for the mailbox's next call, if any."""
        return self._for_groups.pop(mailbox_id, None)

    def end(self, taken: Taken) -> None:
        """Report the end of the call: its units come back one window later."""
        self._settle(taken, used=True)

    def give_back(self, taken: Taken) -> None:
        """Return units whose call was not made."""
        self._settle(taken, used=False)

    async def flush(self) -> None:
        """Send the reports to Redis. Units of a lost report stay counted until the longest call would have ended."""
        if self._flushing is not None:
            await self._flushing
        await self._flush()

    async def _flush(self) -> None:
        settled, self._settled = self._settled, {}
        pipeline = self._redis.pipeline(transaction=False)
        for mailbox_id, reports in settled.items():
            if reports:
                mark = Mark(allowed=0, owes=self._mailbox.window)
                await self._ask(pipeline, mailbox_id, 0, live=True, mark=mark, project_owes=-1, settled=reports)
        if pipeline.command_stack:
            with contextlib.suppress(RedisError):
                await pipeline.execute()

    async def use(self) -> QuotaUse:
        """Return the use of the project's quota. Raises RedisError."""
        await self.flush()
        day, elapsed = self._day()
        used = await self._redis.get(_day_key(day))
        window_used, paused_ms = await self._use(keys=[_PROJECT_KEY], args=[*self._times(), *_of(self._project)])
        return QuotaUse(
            window_used=window_used,
            day_used=self._assumed(elapsed) if used is None else int(used),
            day_limit=self.profile.daily_limit,
            rate_limit=self.profile.project_limit / self.profile.window,
            paused=paused_ms / 1000,
        )

    async def pause(self, mailbox_id: int, seconds: float, *, whole_project: bool) -> None:
        """Stop all workers' calls of the mailbox, or of the project, for `seconds`; no burst follows."""
        key, limit = (_PROJECT_KEY, self._project) if whole_project else (_mailbox_key(mailbox_id), self._mailbox)
        # Without Redis no units are available anyway.
        with contextlib.suppress(RedisError):
            await self._pause(keys=[key], args=[*self._times(), *_of(limit), seconds, int(whole_project)])

    async def _take_all(
        self, units: Mapping[int, int], *, more: int = 0, live: bool, idle: bool = False
    ) -> dict[int, Taken | QuotaWaitError]:
        """Take units for each mailbox, or the wait until they are available. Raises RedisError."""
        outcomes: dict[int, Taken | QuotaWaitError] = {}
        asked, many, project_owes = dict(units), set[int](), _UNKNOWN
        while asked:
            marks = await self._watermarks.cover(asked, many=many)
            answers = await self._run(asked, marks, more=more, live=live, idle=idle, project_owes=project_owes)
            for mailbox_id, answer in answers.items():
                match answer:
                    case [1, mailbox_slot, project_slot, taken]:
                        outcomes[mailbox_id] = Taken(
                            mailbox_id=mailbox_id, units=taken, mailbox_slot=mailbox_slot, project_slot=project_slot
                        )
                    case [0, wait_ms, reason]:
                        outcomes[mailbox_id] = self._wait(max(0.001, wait_ms / 1000), _REASONS[reason - 1])
                    case [code] if code == _PROJECT_UNKNOWN:
                        project_owes = await self._watermarks.project_owes()
                    case _:
                        many.add(mailbox_id)
            self._watermarks.called(id_ for id_ in asked if isinstance(outcomes.get(id_), Taken))
            asked = {id_: wanted for id_, wanted in asked.items() if id_ not in outcomes}
        return outcomes

    async def _run(
        self,
        units: Mapping[int, int],
        marks: Mapping[int, Mark],
        *,
        more: int,
        live: bool,
        idle: bool,
        project_owes: int,
    ) -> dict[int, list[int]]:
        """Run the script for each mailbox in one round trip; return its answers. Raises RedisError."""
        settled = {id_: self._settled.pop(id_, []) for id_ in units}
        client = self._redis if len(units) == 1 else self._redis.pipeline(transaction=False)
        try:
            answers = [
                await self._ask(
                    client,
                    id_,
                    wanted,
                    more=more,
                    live=live,
                    idle=idle,
                    mark=marks[id_],
                    project_owes=project_owes,
                    settled=settled[id_],
                )
                for id_, wanted in units.items()
            ]
            if client is not self._redis:
                answers = await client.execute()  # type: ignore[attr-defined]  # a pipeline
        except RedisError as error:
            self._metrics.lost(error)
            self._metrics.waited(QuotaScope.SERVICE)
            raise
        self._metrics.reached()
        by_mailbox = dict(zip(units, answers, strict=True))
        for mailbox_id, answer in by_mailbox.items():
            if answer == [_PROJECT_UNKNOWN]:
                self._settled[mailbox_id] = settled[mailbox_id] + self._settled.get(mailbox_id, [])
        return by_mailbox

    async def _ask(
        self,
        client: Redis,
        mailbox_id: int,
        units: int,
        *,
        more: int = 0,
        live: bool,
        mark: Mark,
        project_owes: int,
        settled: Iterable[_Report],
        idle: bool = False,
    ) -> Any:
        """Run the script for a mailbox; in a pipeline the answer arrives with the others."""
        day, elapsed = self._day()
        return await self._take(
            keys=[_mailbox_key(mailbox_id), _PROJECT_KEY, _LINE_KEY, _day_key(day), _day_key(day, of="idle")],
            args=[
                *self._times(),
                *(units, mailbox_id, int(live)),
                *_of(self._mailbox),
                *_of(self._project),
                *(self.batch_units, mark.allowed, mark.owes, project_owes),
                *(self._day_limit(elapsed, live=live), self._assumed(elapsed), _DAY - elapsed),
                *self._idle_checks(elapsed, idle=idle),
                more,
                *(value for report in settled for value in self._told(report)),
            ],
            client=client,
        )

    def _wait(self, seconds: float, scope: QuotaScope) -> QuotaWaitError:
        self._metrics.waited(scope)
        return QuotaWaitError(seconds, scope=scope)

    def _settle(self, taken: Taken, *, used: bool) -> None:
        self._settled.setdefault(taken.mailbox_id, []).append(_Report(taken=taken, used=used, at=self._monotonic()))
        if self._flush_handle is None:
            self._flush_handle = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._begin_flush)

    def _told(self, report: _Report) -> tuple[float, ...]:
        """Encode a report for the script: the least seconds since the call's end, then its units per slot."""
        taken = report.taken
        ago = self._monotonic() - report.at if report.used else _NOT_USED
        return taken.mailbox_slot, taken.project_slot, taken.units, ago

    def _begin_flush(self) -> None:
        self._flush_handle = None
        self._flushing = asyncio.get_running_loop().create_task(self._flush())

    def _times(self) -> tuple[float | str, float, float]:
        now = "" if self._redis_time is None else self._redis_time()
        return now, self.profile.window, self.profile.longest_call

    def _day_limit(self, elapsed: float, *, live: bool) -> int:
        """Backfills leave to live mail its reserve, and to idle checks their part of the rest of the day."""
        kept = 0.0 if live else self.profile.live_reserve + self.profile.idle_share * (1 - elapsed / _DAY)
        return int(self.profile.daily_limit * (1 - kept))

    def _idle_checks(self, elapsed: float, *, idle: bool) -> tuple[int, int, float]:
        """Units of idle checks: allowed by now (-1: this is none), owed by a lost count, and per second."""
        per_second = self.profile.daily_limit * self.profile.idle_share / _DAY
        allowed = per_second * min(_DAY, elapsed + _CHECKS_AHEAD)
        return int(allowed) if idle else -1, int(per_second * elapsed), per_second

    def _day(self) -> tuple[float, float]:
        """Return the number of the provider's day, and the seconds since its beginning."""
        return divmod(self._now() - self.profile.day_begins, _DAY)

    def _assumed(self, elapsed: float) -> int:
        """Return the units to assume for a lost day's count: those of an evenly spent day."""
        return int(self.profile.daily_limit * (1 - self.profile.live_reserve) * elapsed / _DAY)


_PROJECT_KEY: Final = "mail:quota:window:project"
_LINE_KEY: Final = "mail:quota:waiting"
_DAY: Final = 86_400
# Seconds until the next attempt while Redis cannot be reached.
_UNAVAILABLE_SECONDS: Final = 1.0
# Seconds by which idle checks may be ahead of their even part of the day.
_CHECKS_AHEAD: Final = 900
# Seconds after which reports are sent without a take. The takes of a sync come more often.
_FLUSH_SECONDS: Final = 0.25
_UNKNOWN: Final = -1
# The script's answer when it needs the units that a lost count of the project owes.
_PROJECT_UNKNOWN: Final = -1
# Replaces the time since a call's end if there was no call.
_NOT_USED: Final = -1.0
# In the order of the script's numbers.
_REASONS: Final = (QuotaScope.MAILBOX, QuotaScope.PROJECT, QuotaScope.DAY)


def _day_key(day: float, *, of: str = "") -> str:
    return f"mail:quota:day:{day:.0f}{of and ':'}{of}"


def _mailbox_key(mailbox_id: int) -> str:
    return f"mail:quota:window:mailbox:{mailbox_id}"


def _of(limit: _Limit) -> tuple[int, int, int]:
    return limit.window, limit.live, limit.burst


def _script(name: str) -> str:
    """Load a script, preceded by the functions that all scripts share."""
    package = resources.files(__package__)
    return "\n".join(package.joinpath(part).read_text("utf-8") for part in ("quota_window.lua", name))
