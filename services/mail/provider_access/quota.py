"""Provider quota, shared by all workers: a token bucket per mailbox and one per project, in Redis.

A bucket that Redis does not know is empty, not full, and its burst is one batch: burst + rate x window never exceeds
the limit, so that no window of the provider, fixed or sliding, sees more than it allows.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.mail.providers.base import UnitCosts

# Takes ARGV[1] units for mailbox ARGV[2]: from its bucket KEYS[1], from the project's KEYS[2] and from the day's count
# KEYS[4]. Answers {units, milliseconds to wait}, one of them 0.
# A bucket has three arguments: rate per second, burst, seconds to keep. It fills from the time `at` on; while that lies
# in the future it is closed.
# The day has three: what may be used, what to assume if the count is unknown, seconds left.
# KEYS[3] is the line of those who wait for the project's units without being live (ARGV[3]): mailboxes by the time when
# their units will have come, after those of everybody in front. Who is not the first leaves them what they wait for, as
# far as the bucket holds that; who is far behind asks again half-way, since those in front may be gone by then. Who is
# late by ARGV[4] seconds has lost its place.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local wanted, mailbox, live, grace = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1', tonumber(ARGV[4])
local batch, levels, times, waits, place = tonumber(ARGV[6]), {}, {}, {}, nil
for i = 1, 2 do
  local rate, burst = tonumber(ARGV[i * 3 + 2]), tonumber(ARGV[i * 3 + 3])
  local state = redis.call('HMGET', KEYS[i], 'level', 'at')
  local level, at = tonumber(state[1]) or 0, tonumber(state[2]) or now
  levels[i] = math.min(burst, level + math.max(0, now - at) * rate)
  times[i] = math.max(at, now)
  local needed, far = wanted, 0
  if i == 2 and not live then
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - grace)
    local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
    place = tonumber(redis.call('ZSCORE', KEYS[3], mailbox))
    if not place then
      place = math.max(now, tonumber(redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]) or now) + wanted / rate
    end
    if first[1] and first[1] ~= mailbox then
      local ahead = redis.call('ZRANK', KEYS[3], mailbox) or redis.call('ZCARD', KEYS[3])
      needed = math.min(batch + (place - first[2]) * rate, batch * ahead + wanted)
    end
    if needed > burst then
      needed, far = burst, (place - now) / 2
    end
  end
  waits[i] = math.max(0, times[i] - now + (needed - levels[i]) / rate)
  if waits[i] > 0 then
    waits[i] = math.max(waits[i], far)
  end
end
local used, wait = tonumber(redis.call('GET', KEYS[4])) or tonumber(ARGV[12]), math.max(waits[1], waits[2])
if ARGV[11] - used < wanted then
  wait = math.max(wait, math.min(tonumber(ARGV[13]), 900))
end
local taken = 0
if wait == 0 then
  taken = wanted
end
if not live then
  if waits[2] > waits[1] then
    redis.call('ZADD', KEYS[3], place, mailbox)
    redis.call('EXPIRE', KEYS[3], ARGV[10])
  else
    redis.call('ZREM', KEYS[3], mailbox)
  end
end
for i = 1, 2 do
  redis.call('HSET', KEYS[i], 'level', levels[i] - taken, 'at', times[i])
  redis.call('EXPIRE', KEYS[i], ARGV[i * 3 + 4])
end
redis.call('SET', KEYS[4], used + taken, 'EX', math.ceil(ARGV[13]))
return {taken, math.ceil(wait * 1000)}
"""

# Leaves a bucket empty and closed for ARGV[1] seconds.
_PAUSE: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local at = math.max(tonumber(redis.call('HGET', KEYS[1], 'at') or 0), now + ARGV[1])
redis.call('HSET', KEYS[1], 'level', 0, 'at', at)
redis.call('EXPIRE', KEYS[1], math.ceil(at - now) + ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaProfile:
    """What a provider allows: units per window for one mailbox and for the whole project, and what calls cost."""

    mailbox_limit: int
    project_limit: int
    window: float
    costs: UnitCosts
    # Units per day for the whole project, and the part of them that backfills leave to live mail.
    daily_limit: int = 80_000_000
    live_reserve: float = 0.1


# Source: Gmail API "Usage limits"; the second set holds for projects from before 2026-05-01.
GMAIL_LIMITS: Final = {"2026-05": (6_000, 1_200_000), "legacy": (15_000, 1_200_000)}
GMAIL_DAILY_LIMITS: Final = {"2026-05": 80_000_000, "legacy": 1_000_000_000}
GMAIL_COSTS: Final = {
    "2026-05": UnitCosts(
        profile=1, list_page=5, labels=1, history_page=2, get=20, thread=40, attachment=20, watch=100, stop=50
    ),
    "legacy": UnitCosts(
        profile=1, list_page=5, labels=1, history_page=2, get=5, thread=10, attachment=5, watch=100, stop=50
    ),
}


def check_fits(profile: QuotaProfile, batch_units: int) -> None:
    """Raises ValueError if a batch takes so much that a bucket could never hold it and still fill."""
    most = min(profile.mailbox_limit - 1, profile.project_limit // 2)
    if batch_units > most:
        raise ValueError(f"the quota does not allow batches of {batch_units} units, {most} at most")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaUse:
    """The project's units: of the day and per second, and the seconds for which there are none at all."""

    day_used: int
    day_limit: int
    rate_limit: float
    paused: float


class QuotaWaitError(Exception):
    """Too few units at the moment; try again in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"quota: wait {seconds:.3f} s")
        self.seconds = seconds


class Quota:
    """Takes units before calls are made. `batch_units` is the largest amount taken at once."""

    def __init__(
        self, redis: Redis, *, profile: QuotaProfile, batch_units: int, now: Callable[[], float] = time.time
    ) -> None:
        self._now = now
        self.profile = profile
        self._redis = redis
        self.burst = batch_units
        check_fits(profile, batch_units)
        self._project_burst = min(batch_units * 50, profile.project_limit // 2)
        self._mailbox_rate = (profile.mailbox_limit - self.burst) / profile.window
        self._project_rate = (profile.project_limit - self._project_burst) / profile.window
        self._keep = max(3600, int(profile.window * 10))
        self._take = redis.register_script(_TAKE)
        self._pause = redis.register_script(_PAUSE)

    @property
    def _for_backfill(self) -> int:
        return int(self.profile.daily_limit * (1 - self.profile.live_reserve))

    def _assumed(self, elapsed: float) -> int:
        """A day's count that was lost is taken for that of a day spent evenly."""
        return int(self._for_backfill * elapsed / _DAY)

    @property
    def mailbox_rate(self) -> float:
        """Units per second that one mailbox gets at best."""
        return self._mailbox_rate

    async def take(self, mailbox_id: int, units: int, *, live: bool = True) -> None:
        """Takes units for calls of this mailbox.

        What is not `live` leaves a part of the day's units alone, and where mailboxes wait for the project's units, it
        waits in line: each gets its turn. New mail waits for nobody.
        Raises QuotaWaitError, also where Redis cannot be reached: without its count no call is safe.
        """
        try:
            taken, wait_ms = await self._ask(self._redis, mailbox_id, units, live=live)
        except RedisError as error:
            raise QuotaWaitError(1.0) from error
        if not taken:
            raise QuotaWaitError(max(0.001, wait_ms / 1000))

    async def take_each(self, units: Mapping[int, int]) -> dict[int, float]:
        """Takes units for each of these mailboxes; returns the seconds that each has to wait, 0 where it worked."""
        pipeline = self._redis.pipeline(transaction=False)
        for mailbox_id, wanted in units.items():
            await self._ask(pipeline, mailbox_id, wanted, live=True)
        try:
            answers = await pipeline.execute()
        except RedisError:
            return dict.fromkeys(units, 1.0)
        return {
            mailbox_id: 0.0 if taken else max(0.001, wait_ms / 1000)
            for mailbox_id, (taken, wait_ms) in zip(units, answers, strict=True)
        }

    async def _ask(self, client: Redis, mailbox_id: int, units: int, *, live: bool) -> tuple[int, int]:
        """Units taken and milliseconds to wait; in a pipeline the answer comes with the others."""
        day, elapsed = divmod(self._now() - _DAY_BEGINS, _DAY)
        allowed = self.profile.daily_limit if live else self._for_backfill
        assumed = self._assumed(elapsed)
        mailbox, project = (self._mailbox_rate, self.burst), (self._project_rate, self._project_burst)
        buckets = (*mailbox, self._keep, *project, self._keep)
        return await self._take(  # type: ignore[no-any-return]  # whatever the script answers
            keys=[_mailbox_key(mailbox_id), _PROJECT_KEY, _LINE_KEY, _day_key(day)],
            args=[units, mailbox_id, int(live), _GRACE, *buckets, allowed, assumed, _DAY - elapsed],
            client=client,
        )

    async def use(self) -> QuotaUse:
        """How much of the project's quota is used. Raises RedisError."""
        day, elapsed = divmod(self._now() - _DAY_BEGINS, _DAY)
        used = await self._redis.get(_day_key(day))
        seconds, microseconds = await self._redis.time()
        opens_at = float(await self._redis.hget(_PROJECT_KEY, "at") or 0)
        return QuotaUse(
            day_used=self._assumed(elapsed) if used is None else int(used),
            day_limit=self.profile.daily_limit,
            rate_limit=self.profile.project_limit / self.profile.window,
            paused=max(0.0, opens_at - seconds - microseconds / 1e6),
        )

    async def pause(self, mailbox_id: int, seconds: float, *, whole_project: bool) -> None:
        """Makes all workers leave the mailbox, or the project, alone; the bucket is empty afterwards."""
        key = _PROJECT_KEY if whole_project else _mailbox_key(mailbox_id)
        try:
            await self._pause(keys=[key], args=[seconds, self._keep])
        except RedisError as error:
            raise QuotaWaitError(seconds) from error


_PROJECT_KEY: Final = "mail:quota:project"
_LINE_KEY: Final = "mail:quota:line"
# Seconds. A worker may be late: its slots are taken, or it has died and another one takes over.
_GRACE: Final = 10.0
_DAY: Final = 86_400
# Google's day begins at midnight in California, where it is taken for winter all year.
_DAY_BEGINS: Final = 8 * 3600


def _day_key(day: float) -> str:
    return f"mail:quota:day:{day:.0f}"


def _mailbox_key(mailbox_id: int) -> str:
    return f"mail:quota:mailbox:{mailbox_id}"
