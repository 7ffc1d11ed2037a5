"""The quota scripts in Redis, and how they are told about windows, day and reports."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from redis.asyncio import Redis

from services.mail.provider_access.clock_reference import ClockReference
from services.mail.provider_access.day_budget import DayBudget
from services.mail.provider_access.watermarks import Mark
from services.mail.provider_access.windows import Window, windows_of
from services.mail.providers.limits import UNITS, ProviderLimits

# The answer of `take` when it needs the units that a lost count of a shared window owes.
SHARED_UNKNOWN: Final = -1
# The time since a call's end in the report of a call that was not made.
NOT_USED: Final = -1.0
# By how many seconds Redis's clock is ahead of the time that counts. All providers share it.
_CLOCK: Final = "mail:quota:clock_ahead"
# The day's arguments of quota_take.lua without a day.
_NO_DAY: Final = ("", 0, 0, -1, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A kind of takes: what it counts, units to take in addition, and the parts of the limits that it may use."""

    counts: str
    more: int = 0
    live: bool = True
    idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Units of a call that ended so many seconds `ago`, or NOT_USED, and the slots that they were taken in."""

    units: int
    ago: float
    slots: tuple[int, ...]


class QuotaScripts:
    """The scripts for a provider's limits. Methods raise RedisError; times are as Quota says."""

    def __init__(
        self,
        redis: Redis,
        limits: ProviderLimits,
        *,
        now: Callable[[], float],
        redis_time: Callable[[], float] | None,
        monotonic: Callable[[], float],
    ) -> None:
        counted = {UNITS, *(bucket.counts for bucket in limits.buckets)}
        self.windows: Mapping[str, tuple[Window, ...]] = {counts: windows_of(limits, counts) for counts in counted}
        self.day = None if limits.day is None else DayBudget(limits.day, now=now)
        self._limits = limits
        self._redis_time = redis_time
        self._clock = ClockReference(monotonic)
        self._take = redis.register_script(_script("quota_take.lua"))
        self._pause = redis.register_script(_script("quota_pause.lua"))
        self._use = redis.register_script(_script("quota_use.lua"))

    async def take(
        self,
        client: Redis,
        identity: str,
        units: int,
        request: Request,
        *,
        mark: Mark,
        shared_owe: Mapping[str, int] | None,
        settled: Iterable[Settled],
    ) -> Any:
        """Run quota_take.lua for a mailbox; in a pipeline the answer arrives with the others. `read` reads it.

        `shared_owe` are the units that lost counts of shared windows owe by the names of their buckets, None while they
        are unknown.
        """
        windows = self.windows[request.counts]
        day = self.day if request.counts == UNITS else None
        return await self._take(
            keys=[
                *(window.key(identity) for window in windows),
                _line_key(windows),
                *(() if day is None else day.keys()),
                _CLOCK,
            ],
            args=[
                *self._times(),
                *(len(windows), units, identity, int(request.live), request.more),
                self._limits.batch_units if request.counts == UNITS else 1,
                *(value for window in windows for value in _told(window, mark, shared_owe)),
                *(_NO_DAY if day is None else day.numbers(live=request.live, idle=request.idle)),
                *(value for report in settled for value in (report.units, report.ago, *report.slots)),
            ],
            client=client,
        )

    async def pause(self, window: Window, identity: str, seconds: float) -> None:
        """Run quota_pause.lua for a window."""
        await self._pause(keys=[window.key(identity), _CLOCK], args=[*self._times(), seconds, *window.numbers])

    async def use(self, window: Window) -> tuple[int, float]:
        """Return the units in use of a shared window, and the seconds for which it is closed."""
        asked_at = self._clock.begin()
        answer = await self._use(keys=[window.key(""), _CLOCK], args=[*self._times(), *window.numbers])
        used, paused_ms = self.read(answer, asked_at=asked_at)
        return used, paused_ms / 1000

    def begin(self) -> float:
        """Return the time at which scripts are sent, for `read`."""
        return self._clock.begin()

    def read(self, answer: Any, *, asked_at: float) -> Any:
        """Return what a script says besides the time, which is learnt."""
        said, told_ms, ahead_ms = answer
        self._clock.learn(told_ms / 1000, asked_at=asked_at, ahead=ahead_ms / 1000)
        return said

    def _times(self) -> tuple[float | str, float, float | str]:
        now, expected = "" if self._redis_time is None else self._redis_time(), self._clock.expected()
        return now, self._limits.longest_call, "" if expected is None else expected


def _told(window: Window, mark: Mark, shared_owe: Mapping[str, int] | None) -> Sequence[float]:
    """Return a window's arguments of quota_take.lua."""
    if window.is_shared:
        owes = SHARED_UNKNOWN if shared_owe is None else shared_owe[window.bucket.name]
        return *window.numbers, 1, owes, window.bucket.limit
    return *window.numbers, 0, window.units(mark.owes), window.units(mark.allows)


def _line_key(windows: Sequence[Window]) -> str:
    """Return the key of the queue for the first window that all mailboxes share."""
    return f"mail:quota:waiting:{next((window.bucket.name for window in windows if window.is_shared), '')}"


def _script(name: str) -> str:
    """Load a script, preceded by the functions that all scripts share."""
    package = resources.files(__package__)
    return "\n".join(package.joinpath(part).read_text("utf-8") for part in ("quota_window.lua", name))
