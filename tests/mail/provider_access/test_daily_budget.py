"""The units of a day: shared by all mailboxes, with a part for live mail only."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from services.mail.provider_access.quota import Quota, QuotaScope, QuotaWaitError
from services.mail.providers.gmail.limits import gmail_quota
from tests.support.mail.quota import NothingOwed

DAY = 86_400.0
# Google's day begins at midnight in California.
MIDNIGHT = 8 * 3600.0 + 20_000 * DAY
LIMIT = 1000
FOR_BACKFILL = 800
MINUTES = 300


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = MIDNIGHT

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def quota(quota_redis: Redis, clock: Clock) -> AsyncIterator[Quota]:
    """Yield a quota whose windows are so large that only the day's units matter."""
    await quota_redis.flushdb()
    profile = replace(
        gmail_quota("2026-05", mailbox_limit=10_000_000, project_limit=10_000_000, live_reserve=0.2), daily_limit=LIMIT
    )
    made = Quota(quota_redis, profile=profile, batch_units=LIMIT, now=clock, watermarks=NothingOwed())
    yield made
    await made.flush()


async def wait_for(quota: Quota, units: int, *, live: bool) -> float:
    """Return the seconds until the day's units are available."""
    with pytest.raises(QuotaWaitError) as wait:
        await quota.take(1, units, live=live)
    assert wait.value.scope is QuotaScope.DAY
    return wait.value.seconds


class TestDailyBudget:
    async def test_keeps_a_part_for_live_mail(self, quota: Quota) -> None:
        await quota.take(1, FOR_BACKFILL - 10, live=False)
        assert 60 < await wait_for(quota, 11, live=False) <= MINUTES
        assert await quota.take_each({1: 2, 2: 2}) == {1: 0.0, 2: 0.0}
        await quota.take(1, 190, live=True)
        assert 60 < await wait_for(quota, 17, live=True) <= MINUTES
        await quota.take(1, 16, live=True)

    async def test_is_shared_by_all_mailboxes_and_idle_checks(self, quota: Quota) -> None:
        await quota.take(1, LIMIT - 3)
        looks = await quota.take_each({1: 2, 2: 2})
        assert (looks[1], looks[2] > 60) == (0.0, True)

    async def test_begins_again_every_day(self, quota: Quota, clock: Clock) -> None:
        await quota.take(1, LIMIT)
        clock.now = MIDNIGHT + DAY - 10
        assert await wait_for(quota, 1, live=True) <= 10
        clock.now = MIDNIGHT + DAY
        await quota.take(1, 1)

    async def test_gets_back_units_without_a_call(self, quota: Quota) -> None:
        quota.give_back(await quota.take(1, FOR_BACKFILL, live=False))
        await quota.take(1, FOR_BACKFILL, live=False)
        assert (await quota.use()).day_used == FOR_BACKFILL

    async def test_that_was_lost_counts_as_evenly_spent(self, quota: Quota, clock: Clock) -> None:
        clock.now = MIDNIGHT + DAY / 2
        await quota.take(1, FOR_BACKFILL // 2 - 10, live=False)
        assert await wait_for(quota, 20, live=False) > 60
