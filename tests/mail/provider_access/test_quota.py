"""What a mailbox gets of its quota and when: bursts, pacing, what live mail keeps, pauses, and lost or odd counts."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

import pytest
import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from services.mail.provider_access.quota import (
    Quota,
    QuotaProfile,
    QuotaScope,
    QuotaUnavailableError,
    QuotaWaitError,
    Taken,
)
from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.provider_access.watermarks import NoWatermarks, Watermarks
from services.mail.providers.gmail.limits import QuotaGeneration, gmail_quota
from tests.support.mail.quota import NothingOwed
from tests.support.mail.waiting import eventually

WINDOW = 60.0
EPOCH = 1_700_000_000.0
BATCH = 200
PROFILE = gmail_quota("2026-05")
LIMIT = PROFILE.mailbox_limit
BURST = 2_500
LIVE_UNITS = 120


@dataclass
class Clock:
    """Redis's clock, which a test sets."""

    now: float = EPOCH

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def redis(quota_redis: Redis) -> Redis:
    """The Redis of all workers, which knows nothing yet."""
    await quota_redis.flushdb()
    return quota_redis


class MakeQuota(Protocol):
    """Makes a worker's quota, at the beginning of a day."""

    def __call__(
        self, server: Redis = ..., *, profile: QuotaProfile = ..., watermarks: Watermarks = ..., **options: Any
    ) -> Quota:
        """Without arguments: one with Gmail's limits, and mailboxes that have called nothing yet."""
        ...


@pytest.fixture
async def quota_of(redis: Redis, clock: Clock) -> AsyncIterator[MakeQuota]:
    """What these have to report does not reach the next test."""
    made: list[Quota] = []

    def make(
        server: Redis = redis,
        *,
        profile: QuotaProfile = PROFILE,
        watermarks: Watermarks = NothingOwed(),  # noqa: B008 - it has no state
        **options: Any,
    ) -> Quota:
        quota = Quota(
            server,
            profile=profile,
            batch_units=profile.costs.get * 10,
            watermarks=watermarks,
            now=lambda: 20_000 * 86_400.0 + profile.day_begins,
            redis_time=clock,
            monotonic=clock,
            **options,
        )
        made.append(quota)
        return quota

    yield make
    for quota in made:
        await quota.flush()


@pytest.fixture
def quota(quota_of: MakeQuota) -> Quota:
    return quota_of()


async def wait_for(quota: Quota, units: int, *, mailbox_id: int = 1, live: bool = True) -> QuotaWaitError:
    """The wait that the mailbox is told."""
    with pytest.raises(QuotaWaitError) as wait:
        await quota.take(mailbox_id, units, live=live)
    return wait.value


async def call(quota: Quota, units: int, *, mailbox_id: int = 1, live: bool = True) -> None:
    """A call that takes no time."""
    quota.end(await quota.take(mailbox_id, units, live=live))


async def get_patiently(
    quota: Quota, clock: Clock, *, seconds: float, live: bool = False, units: int = BATCH
) -> list[float]:
    """Take whenever the wait that was told is over; return when units were taken, in seconds from now on."""
    began, taken = clock.now, []
    while clock.now < began + seconds:
        try:
            await call(quota, units, live=live)
            taken.append(clock.now - began)
        except QuotaWaitError as wait:
            clock.now += wait.seconds
    return taken


class TestBurst:
    @pytest.mark.parametrize(("generation", "burst"), [("2026-05", 2_500), ("legacy", 6_250)])
    async def test_is_there_at_once_after_idleness_and_not_more(
        self, quota_of: MakeQuota, generation: QuotaGeneration, burst: int
    ) -> None:
        quota = quota_of(profile=gmail_quota(generation))
        await call(quota, burst, live=False)
        assert (await wait_for(quota, BATCH, live=False)).seconds > 0.1

    async def test_pays_for_the_newest_hundred_with_all_that_a_first_sync_asks_for(self, quota: Quota) -> None:
        costs = PROFILE.costs
        await call(quota, costs.profile + costs.labels + costs.watch)
        await call(quota, costs.list_page, live=False)
        for _ in range(10):
            await call(quota, 10 * costs.get, live=False)

    async def test_can_be_set(self, quota_of: MakeQuota) -> None:
        quota = quota_of(profile=gmail_quota("2026-05", burst=1_000))
        await call(quota, 1_000, live=False)
        assert (await wait_for(quota, BATCH, live=False)).seconds > 0.1

    async def test_comes_back_with_idleness(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST, live=False)
        clock.now += WINDOW + 2
        await call(quota, BURST, live=False)

    async def test_of_one_mailbox_is_its_own(self, quota: Quota) -> None:
        await call(quota, BURST, mailbox_id=1)
        await call(quota, BURST, mailbox_id=2)


class TestPacing:
    async def test_spreads_the_rest_of_the_window_evenly(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST, live=False)
        taken = await get_patiently(quota, clock, seconds=5 * WINDOW)
        gaps = [later - earlier for earlier, later in pairwise(taken)]
        # 200 units take 3.5 s of what is left beside a burst, and 2 s when the burst has come back.
        assert max(gaps) < 10
        assert median(gaps) < 2.3

    @pytest.mark.parametrize("generation", ["2026-05", "legacy"])
    async def test_leaves_nothing_unused(self, quota_of: MakeQuota, clock: Clock, generation: QuotaGeneration) -> None:
        profile = gmail_quota(generation)
        quota = quota_of(profile=profile)
        batch = quota.batch_units
        await get_patiently(quota, clock, seconds=2 * WINDOW, units=batch)
        taken = await get_patiently(quota, clock, seconds=10 * WINDOW, units=batch)
        assert len(taken) * batch > 0.95 * 10 * profile.mailbox_limit

    @pytest.mark.parametrize("live", [True, False])
    async def test_tells_a_wait_after_which_the_units_are_there(
        self, quota: Quota, clock: Clock, *, live: bool
    ) -> None:
        await call(quota, BURST, live=False)
        for _ in range(100):
            with suppress(QuotaWaitError):
                await call(quota, BATCH, live=live)
                continue
            clock.now += (await wait_for(quota, BATCH, live=live)).seconds
            await call(quota, BATCH, live=live)

    async def test_sends_a_backfill_away_for_half_a_second_at_least(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST, live=False)
        assert (await wait_for(quota, 1, live=False)).seconds == pytest.approx(0.5)
        # Unless a whole batch comes sooner.
        clock.now += 0.9 * (await wait_for(quota, BATCH, live=False)).seconds
        assert 0 < (await wait_for(quota, BATCH, live=False)).seconds < 0.4


class TestLiveMail:
    async def test_has_units_that_backfills_leave(self, quota_of: MakeQuota) -> None:
        quota = quota_of(profile=replace(PROFILE, burst=1.0))
        await call(quota, LIMIT - LIVE_UNITS, live=False)
        assert (await wait_for(quota, 1, live=False)).scope is QuotaScope.MAILBOX
        await call(quota, LIVE_UNITS)
        assert (await wait_for(quota, 1)).scope is QuotaScope.MAILBOX

    async def test_need_not_wait_for_the_pace_of_a_backfill(self, quota: Quota) -> None:
        await call(quota, BURST, live=False)
        await wait_for(quota, 1, live=False)
        await call(quota, LIVE_UNITS)
        assert (await wait_for(quota, 1)).scope is QuotaScope.MAILBOX

    async def test_gets_them_back_before_a_backfill_goes_on(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST, live=False)
        await call(quota, LIVE_UNITS)
        backfill = await wait_for(quota, BATCH, live=False)
        clock.now += backfill.seconds / 2
        await call(quota, LIVE_UNITS // 2)


class TestCallsInFlight:
    async def test_count_until_a_window_after_their_end(self, quota: Quota, clock: Clock) -> None:
        held = [await quota.take(1, 1_000) for _ in range(2)]
        clock.now += 100
        for taken in held:
            quota.end(taken)
        await get_patiently(quota, clock, seconds=10, live=True, units=1_000)
        assert (await wait_for(quota, BURST)).seconds > 40

    async def test_of_a_worker_that_died_come_back_after_the_longest_call_and_a_window(
        self, quota_of: MakeQuota, clock: Clock
    ) -> None:
        dead, alive = (quota_of() for _ in range(2))
        for _ in range(2):
            await dead.take(1, BURST)
            clock.now += 30
        clock.now += PROFILE.longest_call - 31
        # 5,000 of 6,000 units are still counted, 70 s after the last take.
        assert (await wait_for(alive, 1_001)).seconds < WINDOW + 30
        clock.now += WINDOW + 32
        await call(alive, BURST)

    async def test_that_are_given_back_count_no_more(self, quota: Quota) -> None:
        quota.give_back(await quota.take(1, BURST, live=False))
        await call(quota, BURST, live=False)

    async def test_can_go_on_after_their_end_was_noted(self, quota: Quota) -> None:
        taken = await quota.take(1, 10)
        quota.end(taken)
        assert quota.reopen(taken)
        await quota.flush()
        quota.end(taken)
        await quota.flush()
        assert not quota.reopen(taken)

    async def test_are_reported_with_the_next_take_and_cost_no_round_trip(self, redis: Redis, quota: Quota) -> None:
        await call(quota, 10)
        before = await scripts_run(redis)
        for _ in range(100):
            await call(quota, 10)
        # A slow machine gets to the background report now and then.
        assert await scripts_run(redis) - before < 120

    async def test_are_reported_soon_where_no_take_follows(self, redis: Redis, quota: Quota) -> None:
        await call(quota, 10)
        await quota.flush()
        before = await scripts_run(redis)
        await call(quota, 10)

        async def is_reported() -> bool:
            return await scripts_run(redis) - before == 2

        await eventually(is_reported)


class TestLostCounts:
    async def test_owe_nothing_where_nothing_was_called(self, quota_of: MakeQuota) -> None:
        await call(quota_of(watermarks=NothingOwed()), BURST)

    async def test_owe_the_window_where_something_was(self, quota_of: MakeQuota, clock: Clock) -> None:
        owed = NoWatermarks(mailbox_limit=LIMIT, project_limit=PROFILE.project_limit)
        quota = quota_of(watermarks=owed)
        wait = await wait_for(quota, 1)
        assert WINDOW <= wait.seconds <= WINDOW + 2
        # It is owed once, however often somebody asks meanwhile.
        clock.now += WINDOW / 2
        assert (await wait_for(quota, 1)).seconds <= WINDOW / 2 + 2
        clock.now += WINDOW / 2 + 2
        await call(quota, BURST)

    async def test_of_the_scheme_before_are_ignored(self, redis: Redis, quota: Quota) -> None:
        await redis.hset("mail:quota:mailbox:1", mapping={"level": 0, "at": EPOCH + 10_000})
        await redis.hset("mail:quota:project", mapping={"level": 0, "at": EPOCH + 10_000})
        await call(quota, BURST)


class TestClockOfRedis:
    @pytest.mark.parametrize("back", [1.0, 59.0, 1_800.0, 86_400.0])
    async def test_that_goes_back_stops_nothing_for_longer_than_a_window(
        self, quota: Quota, clock: Clock, back: float
    ) -> None:
        await get_patiently(quota, clock, seconds=2 * WINDOW)
        clock.now -= back
        began = clock.now
        while True:
            try:
                await call(quota, 500)
                break
            except QuotaWaitError as wait:
                clock.now += wait.seconds
        assert clock.now - began < WINDOW / 2

    async def test_that_goes_back_prolongs_no_pause(self, quota: Quota, clock: Clock) -> None:
        await quota.pause(1, 30, whole_project=False)
        clock.now -= 1_800
        assert (await wait_for(quota, 1)).seconds < 30 + WINDOW + 2

    async def test_that_goes_back_gives_nothing_away(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST)
        await call(quota, LIVE_UNITS)
        clock.now -= 1_800
        assert (await wait_for(quota, BATCH)).seconds > 0.5


class TestPauses:
    async def test_close_a_mailbox_for_all_workers(self, quota_of: MakeQuota) -> None:
        ours, theirs = (quota_of() for _ in range(2))
        await call(ours, 1)
        await ours.pause(1, 30, whole_project=False)
        assert 30 <= (await wait_for(theirs, 1)).seconds <= 31
        await call(theirs, 1, mailbox_id=2)

    async def test_close_the_project_for_all_mailboxes(self, quota: Quota) -> None:
        await call(quota, 1)
        await quota.pause(1, 30, whole_project=True)
        wait = await wait_for(quota, 1, mailbox_id=2)
        assert (30 <= wait.seconds <= 31, wait.scope) == (True, QuotaScope.PROJECT)
        assert 29 < (await quota.use()).paused <= 30

    async def test_are_not_shortened_by_later_ones(self, quota: Quota) -> None:
        await call(quota, 1)
        await quota.pause(1, 30, whole_project=False)
        await quota.pause(1, 1, whole_project=False)
        assert (await wait_for(quota, 1)).seconds >= 30

    async def test_leave_no_burst_behind(self, quota: Quota, clock: Clock) -> None:
        await call(quota, 1)
        await quota.pause(1, 30, whole_project=False)
        clock.now += 31
        assert (await wait_for(quota, BURST, live=False)).seconds > 10

    async def test_of_an_unknown_mailbox_count_as_a_full_window(self, quota: Quota) -> None:
        await quota.pause(1, 5, whole_project=False)
        assert (await wait_for(quota, 1)).seconds >= WINDOW


class TestLimits:
    @pytest.mark.parametrize("limits", [{"mailbox_limit": BATCH}, {"project_limit": BATCH}])
    async def test_that_have_no_room_for_a_batch_are_refused(self, quota_of: MakeQuota, limits: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="does not allow batches"):
            quota_of(profile=gmail_quota("2026-05", **limits))


@pytest.fixture
async def no_redis(free_port: int) -> AsyncIterator[Redis]:
    """A Redis that is gone."""
    redis = create_redis(RedisSettings(redis_host="127.0.0.1", redis_port=free_port, redis_db=0))
    yield redis
    await redis.aclose()


class TestWithoutRedis:
    async def test_nothing_is_taken(self, no_redis: Redis, quota_of: MakeQuota) -> None:
        quota = quota_of(no_redis)
        with pytest.raises(QuotaUnavailableError) as wait:
            await quota.take(1, 1)
        assert (wait.value.seconds > 0, wait.value.scope) == (True, QuotaScope.SERVICE)
        # Nothing has to be kept from units that are not given out.
        await quota.pause(1, 3, whole_project=False)

    async def test_no_mailbox_of_a_group_takes_anything(self, no_redis: Redis, quota_of: MakeQuota) -> None:
        quota = quota_of(no_redis)
        waits = await quota.take_each({1: 2, 2: 2})
        assert (set(waits), min(waits.values()) > 0) == ({1, 2}, True)
        assert (quota.claim(1), quota.claim(2)) == (None, None)

    async def test_ends_of_calls_are_lost_without_an_error(self, no_redis: Redis, quota_of: MakeQuota) -> None:
        quota = quota_of(no_redis)
        quota.end(Taken(mailbox_id=1, units=1, mailbox_slot=1, project_slot=1))
        await quota.flush()

    async def test_one_line_is_logged_when_it_goes_and_one_when_it_is_back(
        self, redis: Redis, no_redis: Redis, quota_of: MakeQuota
    ) -> None:
        registry = CollectorRegistry()
        metrics = QuotaMetrics(registry)
        lost, found = quota_of(no_redis, metrics=metrics), quota_of(redis, metrics=metrics)
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                with suppress(QuotaUnavailableError):
                    await lost.take(1, 1)
            assert registry.get_sample_value("mailroom_quota_reachable") == 0
            for _ in range(3):
                await found.take(1, 1)
        assert [entry["log_level"] for entry in logs] == ["error", "info"]
        assert registry.get_sample_value("mailroom_quota_reachable") == 1
        assert registry.get_sample_value("mailroom_quota_waits_total", {"scope": "service"}) == 3


class TestWaits:
    async def test_are_counted_by_what_is_waited_for(self, quota_of: MakeQuota) -> None:
        registry = CollectorRegistry()
        quota = quota_of(metrics=QuotaMetrics(registry))
        await quota.take(1, BURST)
        await wait_for(quota, BATCH)
        await quota.pause(1, 100, whole_project=True)
        await quota.take_each({2: 2, 3: 2})
        counted = {
            scope: registry.get_sample_value("mailroom_quota_waits_total", {"scope": scope}) for scope in QuotaScope
        }
        assert counted == {"mailbox": 1, "project": 2, "day": 0, "service": 0}


class TestGroups:
    async def test_take_in_one_round_trip_and_each_call_claims_its_own(self, redis: Redis, quota: Quota) -> None:
        await quota.take_each({1: 2})
        before = await scripts_run(redis)
        assert await quota.take_each({1: 2, 2: 2, 3: 2}) == {1: 0, 2: 0, 3: 0}
        assert await scripts_run(redis) - before == 3
        claimed = quota.claim(2)
        assert claimed is not None
        assert (claimed.mailbox_id, claimed.units, quota.claim(2)) == (2, 2, None)


async def scripts_run(redis: Redis) -> int:
    """How many scripts Redis has run."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])
