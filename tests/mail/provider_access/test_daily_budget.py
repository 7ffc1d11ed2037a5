"""The units of a day: shared by all, with a part that only live mail may use."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.mail.provider_access.quota import Quota, QuotaProfile, QuotaWaitError
from services.mail.providers.gmail.limits import GMAIL_COSTS
from tests.support.mail.quota import NothingOwed
from tests.support.mail.servers import Servers
from tests.support.mail.waiting import eventually

DAY = 86_400.0
# A day begins at midnight in California.
MIDNIGHT = 8 * 3600.0 + 20_000 * DAY
LIMIT = 1000
FOR_BACKFILL = 800


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = MIDNIGHT

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    await servers.forget_quota()
    yield servers.redis
    await servers.forget_quota()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def quota(redis: Redis, clock: Clock) -> Quota:
    """Buckets that are full, so that only the day's units matter."""
    profile = QuotaProfile(
        mailbox_limit=10_000_000,
        project_limit=10_000_000,
        window=1,
        costs=GMAIL_COSTS["2026-05"],
        daily_limit=LIMIT,
        live_reserve=0.2,
        day_begins=8 * 3600.0,
    )
    made = Quota(redis, profile=profile, batch_units=LIMIT, now=clock, watermarks=NothingOwed())

    async def is_filled() -> bool:
        try:
            await made.take(1, 1)
        except QuotaWaitError:
            return False
        return True

    await eventually(is_filled)
    await redis.delete(*[key async for key in redis.scan_iter("mail:quota:day:*")])
    return made


async def waits(quota: Quota, units: int, *, live: bool) -> float:
    """How long these units are to be waited for, after the buckets had time to fill."""
    with pytest.raises(QuotaWaitError) as wait:
        await quota.take(1, units, live=live)
    return wait.value.seconds


class TestDailyBudget:
    async def test_leaves_a_part_to_live_mail(self, quota: Quota) -> None:
        await quota.take(1, FOR_BACKFILL - 10, live=False)
        assert await waits(quota, 11, live=False) > 60
        await quota.take(1, 200, live=True)
        assert await waits(quota, 11, live=True) > 60
        await quota.take(1, 10, live=True)

    async def test_is_shared_by_all_mailboxes_and_looks_count_too(self, quota: Quota) -> None:
        await quota.take(1, LIMIT - 3)
        looks = await quota.take_each({1: 2, 2: 2})
        assert (looks[1], looks[2] > 60) == (0.0, True)

    async def test_begins_anew_every_day(self, quota: Quota, clock: Clock) -> None:
        await quota.take(1, LIMIT)
        clock.now = MIDNIGHT + DAY - 10
        assert await waits(quota, 1, live=True) <= 10
        clock.now = MIDNIGHT + DAY
        await quota.take(1, 1)

    async def test_that_was_lost_is_taken_for_that_of_a_day_spent_evenly(self, quota: Quota, clock: Clock) -> None:
        clock.now = MIDNIGHT + DAY / 2
        await quota.take(1, FOR_BACKFILL // 2 - 10, live=False)
        assert await waits(quota, 20, live=False) > 60
