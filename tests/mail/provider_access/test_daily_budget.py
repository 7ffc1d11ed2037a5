"""The units of a day: shared by all mailboxes, with a part for live mail only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.mail.provider_access.quota import Quota, QuotaScope, QuotaWaitError
from services.mail.providers.gmail.limits import gmail_limits
from tests.support.mail.quota import NothingOwed

DAY = 86_400.0
# Google's day begins at midnight in California.
MIDNIGHT = 8 * 3600.0 + 20_000 * DAY
LIMIT = 1000
FOR_BACKFILL = 800
IDLE_SHARE = 0.25
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
    """Yield a quota whose windows are so large that only the day's units matter, with no part for idle checks."""
    async with open_quota(quota_redis, clock, idle_share=0) as made:
        yield made


@pytest.fixture
async def shared(quota_redis: Redis, clock: Clock) -> AsyncIterator[Quota]:
    """Yield the same with a part for idle checks."""
    async with open_quota(quota_redis, clock, idle_share=IDLE_SHARE) as made:
        yield made


@asynccontextmanager
async def open_quota(redis: Redis, clock: Clock, *, idle_share: float) -> AsyncIterator[Quota]:
    await redis.flushdb()
    limits = gmail_limits(
        "2026-05",
        mailbox_limit=10_000_000,
        project_limit=10_000_000,
        daily_limit=LIMIT,
        live_reserve=0.2,
        idle_share=idle_share,
        batch_size=LIMIT // 20,
    )
    made = Quota(redis, limits=limits, now=clock, watermarks=NothingOwed())
    yield made
    await made.flush()


async def wait_for(quota: Quota, units: int, *, live: bool) -> float:
    """Return the seconds until the day's units are available."""
    with pytest.raises(QuotaWaitError) as wait:
        await quota.take("1", units, live=live)
    assert wait.value.scope is QuotaScope.DAY
    return wait.value.seconds


class TestDailyBudget:
    async def test_keeps_a_part_for_live_mail(self, quota: Quota) -> None:
        await quota.take("1", FOR_BACKFILL - 10, live=False)
        assert 60 < await wait_for(quota, 11, live=False) <= MINUTES
        await quota.take("1", 194, live=True)
        assert 60 < await wait_for(quota, 17, live=True) <= MINUTES
        await quota.take("1", 16, live=True)

    async def test_is_shared_by_all_mailboxes(self, quota: Quota) -> None:
        await quota.take("1", LIMIT - 3)
        await quota.take("2", 2)
        assert 60 < await wait_for(quota, 2, live=True) <= MINUTES

    async def test_begins_again_every_day(self, quota: Quota, clock: Clock) -> None:
        await quota.take("1", LIMIT)
        clock.now = MIDNIGHT + DAY - 10
        assert await wait_for(quota, 1, live=True) <= 10
        clock.now = MIDNIGHT + DAY
        await quota.take("1", 1)

    async def test_gets_back_units_without_a_call(self, quota: Quota) -> None:
        quota.give_back(await quota.take("1", FOR_BACKFILL, live=False))
        await quota.take("1", FOR_BACKFILL, live=False)
        assert (await quota.use()).day_used == FOR_BACKFILL

    async def test_that_was_lost_counts_as_evenly_spent(self, quota: Quota, clock: Clock) -> None:
        clock.now = MIDNIGHT + DAY / 2
        assert (await quota.use()).day_used == 0
        await quota.take("1", FOR_BACKFILL // 2 - 10, live=False)
        assert await wait_for(quota, 20, live=False) > 60
        # Metrics tell what was counted, not what is assumed.
        assert (await quota.use()).day_used == FOR_BACKFILL // 2 - 10


async def check(quota: Quota, times: int) -> list[float]:
    """Take the units of so many idle checks; return the waits of those that get none."""
    waits = await quota.take_each(dict.fromkeys(map(str, range(1, times + 1)), 2))
    assert all(wait is None or wait.scope is QuotaScope.DAY for wait in waits.values())
    return [wait.seconds for wait in waits.values() if wait is not None]


class TestPartOfIdleChecks:
    async def test_is_spent_evenly_over_the_day(self, shared: Quota, clock: Clock) -> None:
        # A quarter of an hour of it may be spent ahead: 2 of its 250 units.
        assert len(await check(shared, 10)) == 9
        clock.now += DAY / 2
        [*waits] = await check(shared, 70)
        assert len(waits) == 70 - 62
        # The next two units come in as many 250ths of the day, and are asked for again earlier.
        assert all(60 < wait <= MINUTES for wait in waits)
        clock.now = MIDNIGHT + DAY - 1
        assert len(await check(shared, 200)) == 200 - 62

    async def test_leaves_all_else_to_live_mail(self, shared: Quota, clock: Clock) -> None:
        await check(shared, 1)
        clock.now = MIDNIGHT + DAY - 1
        assert len(await check(shared, 200)) == 200 - 124
        await shared.take("1", LIMIT - 250, live=True)
        assert 0 < await wait_for(shared, 1, live=True) <= 1

    async def test_is_left_to_them_by_backfills_as_far_as_it_is_to_come(self, shared: Quota, clock: Clock) -> None:
        assert await check(shared, 1) == []
        await shared.take("1", FOR_BACKFILL - 250 - 2, live=False)
        assert await wait_for(shared, 1, live=False) > 60
        clock.now += DAY / 2
        await shared.take("1", 124, live=False)
        assert await wait_for(shared, 2, live=False) > 60
        assert len(await check(shared, 70)) == 70 - 62
        clock.now = MIDNIGHT + DAY - 1
        await shared.take("1", 1, live=False)

    async def test_that_was_lost_counts_as_spent_evenly(self, shared: Quota, clock: Clock, quota_redis: Redis) -> None:
        clock.now += DAY / 2
        assert len(await check(shared, 3)) == 2
        await quota_redis.flushdb()
        assert len(await check(shared, 3)) == 2
