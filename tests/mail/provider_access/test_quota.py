"""Quota buckets against an exact count of what was taken, by Redis's own clock."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from services.mail.provider_access.quota import Quota, QuotaProfile, QuotaUnavailableError, QuotaWaitError
from services.mail.providers.gmail.limits import GMAIL_COSTS
from tests.support.mail.servers import Servers

WINDOW = 0.5
LIMIT = 1000
BATCH = 100


def profile(*, mailbox_limit: int = LIMIT, project_limit: int = 1_000_000, window: float = WINDOW) -> QuotaProfile:
    """A profile with a short window."""
    return QuotaProfile(
        mailbox_limit=mailbox_limit,
        project_limit=project_limit,
        daily_limit=80_000_000,
        window=window,
        costs=GMAIL_COSTS["2026-05"],
    )


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    """The Redis of all workers, with empty buckets."""
    await servers.forget_quota()
    yield servers.redis
    await servers.forget_quota()


async def now(redis: Redis) -> float:
    """Redis's time in seconds."""
    seconds, microseconds = await redis.time()
    return float(seconds) + microseconds / 1_000_000


async def patiently(quota: Quota, mailbox_id: int, units: int) -> None:
    """Takes units as soon as there are enough."""
    while True:
        try:
            await quota.take(mailbox_id, units)
            return
        except QuotaWaitError as wait:
            await asyncio.sleep(wait.seconds)


@dataclass(frozen=True)
class Take:
    """Units that were taken between two moments."""

    after: float
    before: float
    units: int


async def spend(quota: Quota, redis: Redis, mailbox_id: int, *, units: int, seconds: float) -> list[Take]:
    """Takes as much as it gets for a while."""
    takes = []
    end = await now(redis) + seconds
    while (began := await now(redis)) < end:
        try:
            await quota.take(mailbox_id, units)
            takes.append(Take(began, await now(redis), units))
        except QuotaWaitError as wait:
            await asyncio.sleep(wait.seconds)
    return takes


def most_in_sliding_window(takes: list[Take], window: float) -> int:
    """The largest sum of units that were surely taken within any window; fixed windows are among them."""
    return max(
        sum(take.units for take in takes if first.after <= take.after and take.before < first.after + window)
        for first in takes
    )


class TestBuckets:
    async def test_that_are_unknown_are_empty(self, redis: Redis) -> None:
        quota = Quota(redis, profile=profile(window=60), batch_units=BATCH)
        with pytest.raises(QuotaWaitError) as wait:
            await quota.take(1, BATCH)
        # 900 units flow in within 60 seconds.
        assert wait.value.seconds == pytest.approx(BATCH / 15, abs=0.1)

    async def test_hold_one_batch_at_most(self, redis: Redis) -> None:
        quota = Quota(redis, profile=profile(), batch_units=BATCH)
        await patiently(quota, 1, 1)
        await asyncio.sleep(WINDOW)
        with pytest.raises(QuotaWaitError):
            await quota.take(1, BATCH + 1)
        await quota.take(1, BATCH)

    async def test_of_other_mailboxes_are_their_own(self, redis: Redis) -> None:
        quota = Quota(redis, profile=profile(), batch_units=BATCH)
        await asyncio.gather(*(patiently(quota, mailbox_id, BATCH) for mailbox_id in range(10)))
        with pytest.raises(QuotaWaitError):
            await quota.take(3, BATCH)

    async def test_never_give_more_than_the_limit_in_any_window(self, redis: Redis) -> None:
        quotas = [Quota(redis, profile=profile(), batch_units=BATCH) for _ in range(2)]
        spent = await asyncio.gather(
            *(spend(quota, redis, 1, units=units, seconds=4 * WINDOW) for quota in quotas for units in (20, 5, 100))
        )
        takes = [take for each in spent for take in each]
        assert most_in_sliding_window(takes, WINDOW) <= LIMIT
        # And nearly as much as it allows: (limit - burst) per window.
        assert sum(take.units for take in takes) >= 0.8 * 4 * (LIMIT - BATCH)

    async def test_of_the_project_bound_all_mailboxes_together(self, redis: Redis) -> None:
        quota = Quota(redis, profile=profile(project_limit=2000), batch_units=BATCH)
        spent = await asyncio.gather(
            *(spend(quota, redis, mailbox_id, units=20, seconds=3 * WINDOW) for mailbox_id in range(8))
        )
        takes = [take for each in spent for take in each]
        assert most_in_sliding_window(takes, WINDOW) <= 2000

    async def test_forgotten_in_between_never_give_more_than_the_limit(self, redis: Redis, servers: Servers) -> None:
        quota = Quota(redis, profile=profile(), batch_units=BATCH)

        async def forget() -> None:
            for _ in range(8):
                await asyncio.sleep(WINDOW / 4)
                await servers.forget_quota()

        takes, _ = await asyncio.gather(spend(quota, redis, 1, units=20, seconds=2 * WINDOW), forget())
        assert most_in_sliding_window(takes, WINDOW) <= LIMIT

    def test_that_can_hold_no_batch_are_refused(self, redis: Redis) -> None:
        with pytest.raises(ValueError, match="does not allow batches"):
            Quota(redis, profile=profile(mailbox_limit=BATCH), batch_units=BATCH)
        with pytest.raises(ValueError, match="does not allow batches"):
            Quota(redis, profile=profile(project_limit=BATCH), batch_units=BATCH)


class TestPauses:
    async def test_close_a_mailbox_for_all_workers(self, redis: Redis) -> None:
        ours, theirs = (Quota(redis, profile=profile(), batch_units=BATCH) for _ in range(2))
        await patiently(ours, 1, 1)
        await ours.pause(1, 30, whole_project=False)
        with pytest.raises(QuotaWaitError) as wait:
            await theirs.take(1, 1)
        assert wait.value.seconds == pytest.approx(30, abs=1)
        await patiently(theirs, 2, 1)

    async def test_close_the_project_for_all_mailboxes(self, redis: Redis) -> None:
        quota = Quota(redis, profile=profile(), batch_units=BATCH)
        await quota.pause(1, 30, whole_project=True)
        with pytest.raises(QuotaWaitError) as wait:
            await quota.take(2, 1)
        assert wait.value.seconds == pytest.approx(30, abs=1)

    async def test_are_not_shortened_by_later_ones(self, redis: Redis) -> None:
        quota = Quota(redis, profile=profile(), batch_units=BATCH)
        await quota.pause(1, 30, whole_project=False)
        await quota.pause(1, 1, whole_project=False)
        with pytest.raises(QuotaWaitError) as wait:
            await quota.take(1, 1)
        assert wait.value.seconds == pytest.approx(30, abs=1)

    async def test_leave_the_bucket_empty_however_often_it_is_asked_meanwhile(self, redis: Redis) -> None:
        quota = Quota(redis, profile=profile(), batch_units=BATCH)
        await patiently(quota, 1, BATCH)
        await quota.pause(1, 0.3, whole_project=False)
        waits = []
        for _ in range(20):
            with pytest.raises(QuotaWaitError) as wait:
                await quota.take(1, BATCH)
            waits.append(wait.value.seconds)
        # The pause, and then as long as a batch takes to flow in.
        assert waits[0] == pytest.approx(0.3 + BATCH / ((LIMIT - BATCH) / WINDOW), abs=0.05)
        assert waits == sorted(waits, reverse=True)


class TestWithoutRedis:
    async def test_nothing_is_taken(self, free_port: int) -> None:
        redis = create_redis(RedisSettings(redis_host="127.0.0.1", redis_port=free_port, redis_db=0))
        quota = Quota(redis, profile=profile(), batch_units=BATCH)
        with pytest.raises(QuotaUnavailableError) as wait:
            await quota.take(1, 1)
        assert wait.value.seconds > 0
        # Nothing has to be kept from units that are not given out.
        await quota.pause(1, 3, whole_project=False)
        await redis.aclose()
