"""Limits as adapters declare them: any buckets, several at a time, of units and of what only the adapter counts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from services.mail.model import Mailbox, MailboxStatus
from services.mail.provider_access.own_buckets import OwnBuckets
from services.mail.provider_access.quota import Quota, QuotaScope, QuotaWaitError
from services.mail.provider_access.watermarks import NoWatermarks
from services.mail.providers.errors import ProviderUnavailableError, RateLimitedError
from services.mail.providers.gmail.limits import gmail_limits
from services.mail.providers.limits import Bucket, CallCosts, DayBucket, Per, ProviderLimits
from tests.support.mail.quota import NothingOwed

EPOCH = 1_700_000_000.0
PER_MINUTE = Bucket(name="new_minute", per=Per.MAILBOX, limit=10, window=60)
PER_HOUR = Bucket(name="new_hour", per=Per.MAILBOX, limit=25, window=3600)
ALL_PER_MINUTE = Bucket(name="new_all", per=Per.PROJECT, limit=30, window=60)
LOGINS = Bucket(name="new_logins", per=Per.MAILBOX, limit=2, window=600, counts="logins")
ADA = Mailbox(
    mailbox_id=1,
    account_id=uuid4(),
    user_id=uuid4(),
    provider="new",
    email="ada@example.com",
    status=MailboxStatus.ACTIVE,
)


def declared(*buckets: Bucket, day: DayBucket | None = None) -> ProviderLimits:
    """Return limits of a provider whose calls cost 1."""
    return ProviderLimits(buckets=buckets, day=day, costs=CallCosts(), concurrency=4, batch_units=4, longest_call=30.0)


@dataclass
class Clock:
    """Redis's clock, set by tests."""

    now: float = EPOCH

    def __call__(self) -> float:
        return self.now


class MakeQuota(Protocol):
    """Creates a provider's quota."""

    def __call__(self, *buckets: Bucket, day: DayBucket | None = None) -> Quota:
        """Return a quota with these buckets."""
        ...


@dataclass
class Made:
    """The quotas of a test."""

    redis: Redis
    clock: Clock
    quotas: list[Quota] = field(default_factory=list)

    def __call__(self, *buckets: Bucket, day: DayBucket | None = None) -> Quota:
        quota = Quota(
            self.redis,
            limits=declared(*buckets, day=day),
            watermarks=NothingOwed(),
            now=lambda: 20_000 * 86_400.0 + self.clock.now - EPOCH,
            redis_time=self.clock,
            monotonic=self.clock,
        )
        self.quotas.append(quota)
        return quota


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def quota_of(quota_redis: Redis, clock: Clock) -> AsyncIterator[MakeQuota]:
    await quota_redis.flushdb()
    made = Made(quota_redis, clock)
    yield made
    for quota in made.quotas:
        await quota.flush()


async def call(quota: Quota, units: int, *, identity: str = "ada", counts: str = "units", live: bool = True) -> None:
    """Make a call that takes no time."""
    quota.end(await quota.take(identity, units, counts=counts, live=live))


async def wait_for(quota: Quota, units: int, *, identity: str = "ada", counts: str = "units") -> QuotaWaitError:
    """Return the wait that the mailbox is told."""
    with pytest.raises(QuotaWaitError) as wait:
        await quota.take(identity, units, counts=counts)
    return wait.value


class TestSeveralBuckets:
    async def test_hold_at_the_same_time(self, quota_of: MakeQuota, clock: Clock) -> None:
        quota = quota_of(PER_MINUTE, PER_HOUR)
        for _ in range(2):
            await call(quota, 10)
            assert 59 < (await wait_for(quota, 1)).seconds <= 61
            clock.now += 62
        await call(quota, 5)
        # The hour is used up, and the minute is not.
        assert 3400 < (await wait_for(quota, 1)).seconds < 3600

    async def test_name_the_one_that_lacks_units(self, quota_of: MakeQuota) -> None:
        quota = quota_of(PER_MINUTE, PER_HOUR, ALL_PER_MINUTE)
        for identity in ("a", "b", "c"):
            await call(quota, 10, identity=identity)
        assert (await wait_for(quota, 1, identity="d")).scope is QuotaScope.PROJECT
        assert (await wait_for(quota, 1, identity="a")).scope is QuotaScope.MAILBOX

    async def test_get_back_what_no_call_used(self, quota_of: MakeQuota) -> None:
        quota = quota_of(PER_MINUTE, PER_HOUR, ALL_PER_MINUTE)
        for _ in range(20):
            quota.give_back(await quota.take("ada", 10))


class TestWithoutLimitsOfTheProject:
    async def test_mailboxes_are_apart(self, quota_of: MakeQuota) -> None:
        quota = quota_of(PER_MINUTE)
        for number in range(20):
            await call(quota, 10, identity=str(number), live=False)
        assert (await wait_for(quota, 1, identity="0")).scope is QuotaScope.MAILBOX

    async def test_a_pause_of_the_project_stops_the_mailbox(self, quota_of: MakeQuota) -> None:
        quota = quota_of(PER_MINUTE)
        await call(quota, 1)
        await quota.pause("ada", 30, whole_project=True)
        # A sixth of the minute's units would come in the first ten seconds.
        assert 30 < (await wait_for(quota, 1)).seconds <= 36
        await call(quota, 1, identity="bob")

    async def test_no_use_is_shown(self, quota_of: MakeQuota) -> None:
        quota = quota_of(PER_MINUTE)
        await call(quota, 1)
        use = await quota.use()
        assert (use.window_used, use.day_used, use.day_limit, use.rate_limit, use.paused) == (0, 0, 0, 0, 0)

    async def test_idle_checks_are_paid_for(self, quota_of: MakeQuota) -> None:
        quota = quota_of(PER_MINUTE)
        assert await quota.take_each({"a": 4, "b": 11}) != {"a": None, "b": None}
        claimed = quota.claim("a")
        assert claimed is not None
        assert (claimed.units, quota.claim("b")) == (4, None)


class TestWithoutAnyLimit:
    async def test_calls_are_made(self, quota_of: MakeQuota) -> None:
        quota = quota_of()
        for _ in range(100):
            await call(quota, quota.most_units)


class TestDay:
    async def test_of_another_provider_is_another_one(self, quota_of: MakeQuota) -> None:
        day = DayBucket(name="new_day", limit=10, begins=0.0)
        ours, theirs = quota_of(day=day), quota_of(day=replace(day, name="other_day"))
        await call(ours, 4)
        assert ((await ours.use()).day_used, (await theirs.use()).day_used) == (4, 0)

    async def test_begins_when_the_adapter_says(self, quota_of: MakeQuota, clock: Clock) -> None:
        quota = quota_of(day=DayBucket(name="new_day", limit=4, begins=3600.0))
        clock.now += 3599
        # A lost count counts as an evenly spent day: three are assumed, and the fourth is counted.
        await call(quota, 1)
        assert (await quota.use()).day_used == 1
        assert (await wait_for(quota, 1)).scope is QuotaScope.DAY
        clock.now += 1
        await call(quota, 4)


class TestWhatOnlyTheAdapterCounts:
    async def test_has_windows_of_its_own(self, quota_of: MakeQuota, clock: Clock) -> None:
        quota = quota_of(PER_MINUTE, LOGINS)
        logins = OwnBuckets(quota, counts="logins")
        for _ in range(2):
            async with logins.take(ADA):
                clock.now += 1
        with pytest.raises(RateLimitedError) as refusal:
            async with logins.take(ADA):
                raise AssertionError("no login is left")
        assert 590 < refusal.value.retry_after < 610
        # Units are still there, and so are logins of another mailbox.
        await call(quota, 10, identity=ADA.identity)
        async with logins.take(replace(ADA, email="bob@example.com")):
            pass

    async def test_is_counted_though_what_it_was_taken_for_failed(self, quota_of: MakeQuota) -> None:
        logins = OwnBuckets(quota_of(LOGINS), counts="logins")
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                async with logins.take(ADA):
                    raise ZeroDivisionError
        with pytest.raises(RateLimitedError):
            async with logins.take(ADA):
                raise AssertionError("no login is left")

    async def test_counts_only_if_it_failed_where_failures_are_limited(self, quota_of: MakeQuota) -> None:
        refusals = OwnBuckets(quota_of(LOGINS), counts="logins")
        for _ in range(5):
            async with refusals.take(ADA, only_if=ZeroDivisionError):
                pass
            with pytest.raises(KeyError):
                async with refusals.take(ADA, only_if=ZeroDivisionError):
                    raise KeyError
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                async with refusals.take(ADA, only_if=ZeroDivisionError):
                    raise ZeroDivisionError
        with pytest.raises(RateLimitedError):
            async with refusals.take(ADA, only_if=ZeroDivisionError):
                raise AssertionError("no failure is left")

    async def test_leaves_a_part_to_live_mail(self, quota_of: MakeQuota) -> None:
        logins = OwnBuckets(quota_of(replace(LOGINS, live_share=0.5)), counts="logins")
        async with logins.take(ADA, live=False):
            pass
        with pytest.raises(RateLimitedError):
            async with logins.take(ADA, live=False):
                raise AssertionError("the rest is for live mail")
        async with logins.take(ADA):
            pass

    async def test_owes_nothing_where_a_lost_count_of_units_does(self, quota_redis: Redis) -> None:
        shared = replace(LOGINS, name="new_logins_of_all", per=Per.PROJECT)
        limits = declared(PER_MINUTE, LOGINS, shared)
        quota = Quota(quota_redis, limits=limits, watermarks=NoWatermarks())
        # What other tests have counted is lost.
        await quota_redis.flushdb()
        await wait_for(quota, 1, identity=ADA.identity)
        async with OwnBuckets(quota, counts="logins").take(ADA):
            pass
        await quota.close()

    async def test_is_not_done_while_it_cannot_be_counted(self, free_port: int) -> None:
        redis = create_redis(RedisSettings(redis_host="127.0.0.1", redis_port=free_port, redis_db=0))
        logins = OwnBuckets(Quota(redis, limits=declared(LOGINS), watermarks=NothingOwed()), counts="logins")
        with pytest.raises(ProviderUnavailableError):
            async with logins.take(ADA):
                raise AssertionError("a login that nobody counts")
        await redis.aclose()


class TestIdentities:
    async def test_share_a_limit_between_their_mailboxes(self, quota_of: MakeQuota) -> None:
        quota = quota_of(PER_MINUTE)
        again = replace(ADA, mailbox_id=2, account_id=uuid4(), email="Ada@Example.com")
        await call(quota, 10, identity=ADA.identity)
        await wait_for(quota, 1, identity=again.identity)

    async def test_have_units_for_an_idle_check_of_each_mailbox(self, quota_of: MakeQuota) -> None:
        quota = quota_of(PER_MINUTE)
        for _ in range(2):
            await quota.take_each({"ada": 2})
        assert [quota.claim("ada") is None for _ in range(3)] == [False, False, True]


class TestKeys:
    def test_of_gmails_counts_are_those_of_earlier_releases(self) -> None:
        limits = gmail_limits("2026-05")
        assert [bucket.name for bucket in limits.buckets] == ["mailbox", "project"]
        assert limits.day is not None
        assert limits.day.name == "day"

    async def test_have_the_names_of_buckets(self, quota_of: MakeQuota, quota_redis: Redis) -> None:
        quota = quota_of(PER_MINUTE, ALL_PER_MINUTE, day=DayBucket(name="new_day", limit=100, begins=0.0))
        await call(quota, 1)
        await quota.flush()
        assert {key async for key in quota_redis.scan_iter()} == {
            *("mail:quota:window:new_minute:ada", "mail:quota:window:new_all", "mail:quota:new_day:20000"),
        }


class TestBatches:
    @pytest.mark.parametrize("bucket", [replace(PER_MINUTE, limit=4), replace(ALL_PER_MINUTE, limit=7)])
    def test_that_leave_nothing_to_others_are_refused(self, bucket: Bucket) -> None:
        with pytest.raises(ValueError, match="does not allow batches"):
            declared(bucket)
