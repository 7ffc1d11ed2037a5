"""Watermarks in Postgres: what a lost count owes, and how rarely they are written."""

import itertools
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from services.mail.model import Mailbox, MailboxStatus
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.provider_access.watermarks import FEW_UNITS, Level, Mark, PostgresWatermarks
from services.mail.providers.gmail.limits import gmail_limits
from services.mail.store.connection import Pool
from services.mail.store.control.quota_watermarks import Recent
from tests.support.mail.servers import Servers

_numbers = itertools.count(1)
LIMITS = gmail_limits("2026-05")
WINDOW = 60.0
BURST = 2_500
MANY = 200
NOTHING = Mark(allows=Level.MANY, owes=Level.NONE)


class Clock:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    """Yield the shared database, without marks."""
    await servers.empty()
    yield servers.pool
    await servers.empty()


def process(pool: Pool, clock: Clock | None = None, *, provider: str = "google") -> PostgresWatermarks:
    """Return the watermarks of a process."""
    return PostgresWatermarks(pool, provider, LIMITS, monotonic=clock or Clock())


async def age(pool: Pool, seconds: float) -> None:
    """Make all marks older."""
    await pool.execute(
        "UPDATE quota_watermarks SET few_until = few_until - make_interval(secs => $1),"
        " many_until = CASE WHEN many_until = '-infinity' THEN many_until"
        " ELSE many_until - make_interval(secs => $1) END",
        seconds,
    )


async def cover(watermarks: PostgresWatermarks, units: int, *, identity: str = "1") -> Mark:
    """Return the mark of a mailbox that is about to take units."""
    return (await watermarks.cover({identity: units}))[identity]


def identity_of(email: str) -> str:
    """Return the identity of a new mailbox with this address."""
    return Mailbox(
        mailbox_id=next(_numbers),
        account_id=uuid4(),
        user_id=uuid4(),
        provider="google",
        email=email,
        status=MailboxStatus.ACTIVE,
    ).identity


async def writes(pool: Pool) -> int:
    """Return how often marks were written, by Postgres's statistics of this transaction."""
    written: int = await pool.fetchval("SELECT sum(xmin::text::bigint) FROM quota_watermarks")
    return written


class TestMarks:
    async def test_of_a_mailbox_without_calls_owe_nothing(self, pool: Pool) -> None:
        assert await cover(process(pool), MANY) == NOTHING

    async def test_owe_the_limit_after_a_take_of_many_units(self, pool: Pool) -> None:
        ours = process(pool)
        await cover(ours, MANY)
        ours.called(["1"])
        assert (await cover(ours, MANY)).owes is Level.MANY

    async def test_of_other_processes_count(self, pool: Pool) -> None:
        await cover(process(pool), MANY)
        assert (await cover(process(pool), MANY)).owes is Level.MANY

    async def test_owe_nothing_after_a_window_without_calls(self, pool: Pool) -> None:
        await cover(process(pool), MANY)
        await age(pool, 60 + LIMITS.longest_call + WINDOW + 1)
        assert await cover(process(pool), MANY) == NOTHING

    async def test_for_few_units_allow_and_owe_few(self, pool: Pool) -> None:
        ours = process(pool)
        assert await cover(ours, 2) == Mark(allows=Level.FEW, owes=Level.NONE)
        ours.called(["1"])
        assert await cover(ours, 2) == Mark(allows=Level.FEW, owes=Level.FEW)
        assert (await cover(process(pool), MANY)).owes is Level.FEW

    async def test_for_few_become_marks_for_many_on_demand(self, pool: Pool) -> None:
        ours = process(pool)
        await cover(ours, 2)
        assert (await ours.cover({"1": 2}, many={"1"}))["1"] == NOTHING

    async def test_count_as_new_for_a_moment_only(self, pool: Pool, clock: Clock) -> None:
        ours = process(pool, clock)
        await cover(ours, MANY)
        clock.now += 5
        assert (await cover(ours, MANY)).owes is Level.MANY

    async def test_belong_to_an_address_and_outlive_its_mailbox(self, pool: Pool) -> None:
        first = identity_of("Ann@example.com")
        await cover(process(pool), MANY, identity=first)
        again = identity_of("ann@example.com")
        assert (await cover(process(pool), MANY, identity=again)).owes is Level.MANY
        assert not await pool.fetchval("SELECT bool_or(scope LIKE '%example%') FROM quota_watermarks")


class TestProject:
    async def test_owes_the_sum_of_the_marks(self, pool: Pool) -> None:
        ours = process(pool)
        assert await ours.recent() == Recent(many=0, few=0)
        await ours.cover({"1": MANY, "2": 2, "3": 2})
        assert await process(pool).recent() == Recent(many=1, few=2)
        await age(pool, 13 * 3_600)
        assert await ours.recent() == Recent(many=0, few=0)


class TestProviders:
    async def test_are_counted_apart(self, pool: Pool) -> None:
        await cover(process(pool), MANY, identity="1")
        await cover(process(pool, provider="other"), 2, identity="2")
        assert await process(pool).recent() == Recent(many=1, few=0)
        assert await process(pool, provider="other").recent() == Recent(many=0, few=1)

    async def test_are_unknown_in_rows_of_the_release_before(self, pool: Pool) -> None:
        identity = identity_of("Ann@example.com")
        row = "encode(sha256(convert_to('google' || ' ' || lower('Ann@example.com'), 'UTF8')), 'hex')"
        await pool.execute(
            f"INSERT INTO quota_watermarks (scope, few_until, many_until) VALUES ({row}, now(), now())"  # noqa: S608 - a constant
        )
        for provider in ("google", "other"):
            assert await process(pool, provider=provider).recent() == Recent(many=1, few=0)
        assert (await cover(process(pool), MANY, identity=identity)).owes is Level.MANY
        assert await process(pool, provider="other").recent() == Recent(many=0, few=0)


class TestWrites:
    @pytest.mark.parametrize(("units", "seconds"), [(MANY, 60), (2, 12 * 3600)])
    async def test_happen_once_per_mark(self, pool: Pool, clock: Clock, units: int, seconds: float) -> None:
        ours = process(pool, clock)
        await cover(ours, units)
        written = await writes(pool)
        for _ in range(10):
            clock.now += seconds / 11
            await cover(ours, units)
        assert await writes(pool) == written
        clock.now += seconds / 10
        await cover(ours, units)
        assert await writes(pool) > written

    async def test_of_a_group_are_one_statement(self, pool: Pool) -> None:
        await process(pool).cover(dict.fromkeys(map(str, range(1, 101)), 2))
        assert await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM quota_watermarks") == 1

    async def test_delete_marks_long_after_their_end(self, pool: Pool) -> None:
        await cover(process(pool), 2, identity="1")
        await age(pool, 25 * 3_600)
        await cover(process(pool), 2, identity="2")
        assert await pool.fetchval("SELECT count(*) FROM quota_watermarks") == 1


class TestFreshRedis:
    """A Redis that has lost its data, and the quota of a process that notices."""

    def quota(self, redis: Redis, pool: Pool) -> Quota:
        """Return the quota of a new process."""
        return Quota(redis, limits=LIMITS, watermarks=process(pool))

    async def test_gives_a_new_mailbox_its_burst_beside_busy_ones(self, quota_redis: Redis, pool: Pool) -> None:
        await quota_redis.flushdb()
        before = self.quota(quota_redis, pool)
        for mailbox_id in range(1, 11):
            before.end(await before.take(str(mailbox_id), BURST))
        await before.flush()
        await quota_redis.flushdb()
        await self.quota(quota_redis, pool).take("11", BURST, live=False)

    async def test_gives_a_busy_mailbox_nothing_for_a_window(self, quota_redis: Redis, pool: Pool) -> None:
        await quota_redis.flushdb()
        working = self.quota(quota_redis, pool)
        await working.take("1", BURST)
        await quota_redis.flushdb()
        for quota in (working, self.quota(quota_redis, pool)):
            with pytest.raises(QuotaWaitError) as wait:
                await quota.take("1", 1)
            assert WINDOW - 5 < wait.value.seconds < WINDOW + 2

    async def test_finds_a_mark_for_many_after_many_idle_checks(self, quota_redis: Redis, pool: Pool) -> None:
        await quota_redis.flushdb()
        looking = self.quota(quota_redis, pool)
        for _ in range(FEW_UNITS // 2):
            assert await looking.take_each({"1": 2}) == {"1": None}
        assert (await cover(process(pool), MANY, identity="2")).owes is Level.NONE
        assert await process(pool).recent() == Recent(many=1, few=1)
        await looking.take_each({"1": 2})
        assert await process(pool).recent() == Recent(many=2, few=0)

    async def test_lets_idle_checks_continue(self, quota_redis: Redis, pool: Pool) -> None:
        await quota_redis.flushdb()
        before = self.quota(quota_redis, pool)
        assert await before.take_each({"1": 2, "2": 2}) == {"1": None, "2": None}
        await quota_redis.flushdb()
        after = self.quota(quota_redis, pool)
        assert await after.take_each({"1": 2, "2": 2}) == {"1": None, "2": None}
        # More than idle checks may owe, and than the mark for few allows: it becomes one for many.
        await after.take("1", BURST - FEW_UNITS)
