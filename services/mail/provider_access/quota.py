"""Provider quota, shared by all workers: a token bucket per mailbox and one per project, in Redis.

A bucket that Redis does not know is empty, not full, and its burst is one batch: burst + rate x window never exceeds
the limit, so that no window of the provider, fixed or sliding, sees more than it allows.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.mail.providers.base import UnitCosts


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaProfile:
    """What a provider allows: units per window for one mailbox and for the whole project, and what calls cost."""

    mailbox_limit: int
    project_limit: int
    window: float
    costs: UnitCosts
    # Units per day for the whole project, and the part of them that backfills leave to live mail.
    daily_limit: int
    live_reserve: float = 0.1
    # Seconds after midnight UTC at which the provider's day begins.
    day_begins: float = 0


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


class QuotaUnavailableError(QuotaWaitError):
    """Redis cannot be reached, and without its count no call is safe."""


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
        self._take = redis.register_script(_script("quota_take.lua"))
        self._give_back = redis.register_script(_script("quota_give_back.lua"))
        self._pause = redis.register_script(_script("quota_pause.lua"))

    @property
    def _for_backfill(self) -> int:
        return int(self.profile.daily_limit * (1 - self.profile.live_reserve))

    def _day(self) -> tuple[float, float]:
        """The number of the provider's day, and the seconds that have passed of it."""
        return divmod(self._now() - self.profile.day_begins, _DAY)

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
        Raises QuotaWaitError, QuotaUnavailableError.
        """
        try:
            taken, wait_ms = await self._ask(self._redis, mailbox_id, units, live=live)
        except RedisError as error:
            raise QuotaUnavailableError(_UNAVAILABLE_SECONDS) from error
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
            return dict.fromkeys(units, _UNAVAILABLE_SECONDS)
        return {
            mailbox_id: 0.0 if taken else max(0.001, wait_ms / 1000)
            for mailbox_id, (taken, wait_ms) in zip(units, answers, strict=True)
        }

    async def give_back(self, mailbox_id: int, units: int) -> None:
        """Give units back that were taken, and for which no call was made."""
        # Without Redis they stay taken, which is safe.
        with contextlib.suppress(RedisError):
            await self._give_back(
                keys=[_mailbox_key(mailbox_id), _PROJECT_KEY, _day_key(self._day()[0])],
                args=[units, self.burst, self._project_burst],
            )

    async def _ask(self, client: Redis, mailbox_id: int, units: int, *, live: bool) -> tuple[int, int]:
        """Units taken and milliseconds to wait; in a pipeline the answer comes with the others."""
        day, elapsed = self._day()
        allowed = self.profile.daily_limit if live else self._for_backfill
        assumed = self._assumed(elapsed)
        buckets = (self._mailbox_rate, self.burst, self._project_rate, self._project_burst, self._keep)
        return await self._take(  # type: ignore[no-any-return]  # whatever the script answers
            keys=[_mailbox_key(mailbox_id), _PROJECT_KEY, _LINE_KEY, _day_key(day)],
            args=[units, mailbox_id, int(live), _GRACE, *buckets, allowed, assumed, _DAY - elapsed],
            client=client,
        )

    async def use(self) -> QuotaUse:
        """How much of the project's quota is used. Raises RedisError."""
        day, elapsed = self._day()
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
        # Without Redis no units are given out anyway.
        with contextlib.suppress(RedisError):
            await self._pause(keys=[key], args=[seconds, self._keep])


_PROJECT_KEY: Final = "mail:quota:project"
_LINE_KEY: Final = "mail:quota:line"
# Seconds. A worker may be late: its slots are taken, or it has died and another one takes over.
_GRACE: Final = 10.0
_DAY: Final = 86_400
# When to ask again while Redis cannot be reached.
_UNAVAILABLE_SECONDS: Final = 1.0


def _day_key(day: float) -> str:
    return f"mail:quota:day:{day:.0f}"


def _mailbox_key(mailbox_id: int) -> str:
    return f"mail:quota:mailbox:{mailbox_id}"


def _script(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
