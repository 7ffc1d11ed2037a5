"""The quota of a mailbox: bursts, pacing, the part for live mail, pauses, and lost or wrong counts."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

import pytest
import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import BlockingConnectionPool, Redis

from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from services.mail.provider_access.quota import (
    Quota,
    QuotaScope,
    QuotaUnavailableError,
    QuotaWaitError,
)
from services.mail.provider_access.quota_metrics import QuotaMetrics
from services.mail.provider_access.settlement import Taken
from services.mail.provider_access.watermarks import NoWatermarks, Watermarks
from services.mail.providers.gmail.limits import DAY_BEGINS, QuotaGeneration, gmail_limits
from services.mail.providers.limits import ProviderLimits
from tests.support.mail.quota import NothingOwed, limit_of
from tests.support.mail.waiting import eventually
from tests.support.silent_server import silent_server

WINDOW = 60.0
EPOCH = 1_700_000_000.0
BATCH = 200
LIMITS = gmail_limits("2026-05")
LIMIT = limit_of(LIMITS)
BURST = 2_500
LIVE_UNITS = 120


@dataclass
class Clock:
    """Redis's clock, set by tests."""

    now: float = EPOCH

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def redis(quota_redis: Redis) -> Redis:
    """Return the workers' Redis, empty at first."""
    await quota_redis.flushdb()
    return quota_redis


class MakeQuota(Protocol):
    """Creates a worker's quota at the beginning of a day."""

    def __call__(
        self, server: Redis = ..., *, limits: ProviderLimits = ..., watermarks: Watermarks = ..., **options: Any
    ) -> Quota:
        """Return a quota; by default one with Gmail's limits, and mailboxes without earlier calls."""
        ...


@pytest.fixture
async def quota_of(redis: Redis, clock: Clock) -> AsyncIterator[MakeQuota]:
    """Yield a factory of quotas whose reports do not reach the next test."""
    made: list[Quota] = []

    def make(
        server: Redis = redis,
        *,
        limits: ProviderLimits = LIMITS,
        watermarks: Watermarks = NothingOwed(),  # noqa: B008 - it has no state
        **options: Any,
    ) -> Quota:
        quota = Quota(
            server,
            limits=limits,
            watermarks=watermarks,
            now=lambda: 20_000 * 86_400.0 + DAY_BEGINS,
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
    """Return the wait that the mailbox is told."""
    with pytest.raises(QuotaWaitError) as wait:
        await quota.take(str(mailbox_id), units, live=live)
    return wait.value


async def call(quota: Quota, units: int, *, mailbox_id: int = 1, live: bool = True) -> None:
    """Make a call that takes no time."""
    quota.end(await quota.take(str(mailbox_id), units, live=live))


async def get_patiently(
    quota: Quota, clock: Clock, *, seconds: float, live: bool = False, units: int = BATCH
) -> list[float]:
    """Take units after each announced wait; return the seconds from now at which units were taken."""
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
    async def test_is_available_at_once_after_idleness(
        self, quota_of: MakeQuota, generation: QuotaGeneration, burst: int
    ) -> None:
        quota = quota_of(limits=gmail_limits(generation))
        await call(quota, burst, live=False)
        assert (await wait_for(quota, BATCH, live=False)).seconds > 0.1

    async def test_covers_the_first_sync_of_the_newest_hundred(self, quota: Quota) -> None:
        costs = LIMITS.costs
        await call(quota, costs.profile + costs.list_labels + costs.watch)
        await call(quota, costs.list_ids, live=False)
        for _ in range(10):
            await call(quota, 10 * costs.fetch, live=False)

    async def test_can_be_configured(self, quota_of: MakeQuota) -> None:
        quota = quota_of(limits=gmail_limits("2026-05", burst=1_000))
        await call(quota, 1_000, live=False)
        assert (await wait_for(quota, BATCH, live=False)).seconds > 0.1

    async def test_returns_with_idleness(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST, live=False)
        clock.now += WINDOW + 2
        await call(quota, BURST, live=False)

    async def test_is_separate_for_each_mailbox(self, quota: Quota) -> None:
        await call(quota, BURST, mailbox_id=1)
        await call(quota, BURST, mailbox_id=2)


class TestPacing:
    async def test_spreads_the_rest_of_the_window_evenly(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST, live=False)
        taken = await get_patiently(quota, clock, seconds=5 * WINDOW)
        gaps = [later - earlier for earlier, later in pairwise(taken)]
        # 200 units take 3.5 s at the rate beside a burst, and 2 s once the burst has come back.
        assert max(gaps) < 10
        assert median(gaps) < 2.3

    @pytest.mark.parametrize("generation", ["2026-05", "legacy"])
    async def test_uses_all_units(self, quota_of: MakeQuota, clock: Clock, generation: QuotaGeneration) -> None:
        limits = gmail_limits(generation)
        quota = quota_of(limits=limits)
        batch = limits.batch_units
        await get_patiently(quota, clock, seconds=2 * WINDOW, units=batch)
        taken = await get_patiently(quota, clock, seconds=10 * WINDOW, units=batch)
        assert len(taken) * batch > 0.95 * 10 * limit_of(limits)

    @pytest.mark.parametrize("live", [True, False])
    async def test_announces_a_wait_after_which_the_units_are_available(
        self, quota: Quota, clock: Clock, *, live: bool
    ) -> None:
        await call(quota, BURST, live=False)
        for _ in range(100):
            with suppress(QuotaWaitError):
                await call(quota, BATCH, live=live)
                continue
            clock.now += (await wait_for(quota, BATCH, live=live)).seconds
            await call(quota, BATCH, live=live)

    async def test_lets_a_backfill_wait_half_a_second_at_least(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST, live=False)
        assert (await wait_for(quota, 1, live=False)).seconds == pytest.approx(0.5)
        # Unless a whole batch is available sooner.
        clock.now += 0.9 * (await wait_for(quota, BATCH, live=False)).seconds
        assert 0 < (await wait_for(quota, BATCH, live=False)).seconds < 0.4


class TestLiveMail:
    async def test_has_a_part_that_backfills_leave(self, quota_of: MakeQuota) -> None:
        quota = quota_of(limits=gmail_limits("2026-05", burst=LIMIT))
        await call(quota, LIMIT - LIVE_UNITS, live=False)
        assert (await wait_for(quota, 1, live=False)).scope is QuotaScope.MAILBOX
        await call(quota, LIVE_UNITS)
        assert (await wait_for(quota, 1)).scope is QuotaScope.MAILBOX

    async def test_does_not_wait_for_the_pace_of_a_backfill(self, quota: Quota) -> None:
        await call(quota, BURST, live=False)
        await wait_for(quota, 1, live=False)
        await call(quota, LIVE_UNITS)
        assert (await wait_for(quota, 1)).scope is QuotaScope.MAILBOX

    async def test_gets_its_part_back_before_a_backfill_continues(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST, live=False)
        await call(quota, LIVE_UNITS)
        backfill = await wait_for(quota, BATCH, live=False)
        clock.now += backfill.seconds / 2
        await call(quota, LIVE_UNITS // 2)


class TestCallsInFlight:
    async def test_count_until_a_window_after_their_end(self, quota: Quota, clock: Clock) -> None:
        held = [await quota.take("1", 1_000) for _ in range(2)]
        clock.now += 100
        for taken in held:
            quota.end(taken)
        await get_patiently(quota, clock, seconds=10, live=True, units=1_000)
        assert (await wait_for(quota, BURST)).seconds > 40

    async def test_of_a_dead_worker_come_back_after_the_longest_call_and_a_window(
        self, quota_of: MakeQuota, clock: Clock
    ) -> None:
        dead, alive = (quota_of() for _ in range(2))
        for _ in range(2):
            await dead.take("1", BURST)
            clock.now += 30
        clock.now += LIMITS.longest_call - 31
        # 5,000 of 6,000 units still count, 70 s after the last take.
        assert (await wait_for(alive, 1_001)).seconds < WINDOW + 30
        clock.now += WINDOW + 32
        await call(alive, BURST)

    async def test_that_are_given_back_do_not_count(self, quota: Quota) -> None:
        quota.give_back(await quota.take("1", BURST, live=False))
        await call(quota, BURST, live=False)

    async def test_are_reported_with_the_next_take_without_a_round_trip(self, redis: Redis, quota: Quota) -> None:
        await call(quota, 10)
        before = await scripts_run(redis)
        for _ in range(100):
            await call(quota, 10)
        # On a slow machine the background report can come first.
        assert await scripts_run(redis) - before < 120

    async def test_are_reported_soon_without_a_take(self, redis: Redis, quota: Quota) -> None:
        await call(quota, 10)
        await quota.flush()
        before = await scripts_run(redis)
        await call(quota, 10)

        async def is_reported() -> bool:
            return await scripts_run(redis) - before == 2

        await eventually(is_reported)


class TestLostCounts:
    async def test_owe_nothing_without_earlier_calls(self, quota_of: MakeQuota) -> None:
        await call(quota_of(watermarks=NothingOwed()), BURST)

    async def test_owe_the_window_after_calls(self, quota_of: MakeQuota, clock: Clock) -> None:
        quota = quota_of(watermarks=NoWatermarks())
        wait = await wait_for(quota, 1)
        assert WINDOW <= wait.seconds <= WINDOW + 2
        # It is owed once, for any number of requests meanwhile.
        clock.now += WINDOW / 2
        assert (await wait_for(quota, 1)).seconds <= WINDOW / 2 + 2
        clock.now += WINDOW / 2 + 2
        await call(quota, BURST)

    async def test_of_the_former_scheme_are_ignored(self, redis: Redis, quota: Quota) -> None:
        await redis.hset("mail:quota:mailbox:1", mapping={"level": 0, "at": EPOCH + 10_000})
        await redis.hset("mail:quota:project", mapping={"level": 0, "at": EPOCH + 10_000})
        await call(quota, BURST)


class TestClockOfRedis:
    @pytest.mark.parametrize("back", [1.0, 59.0, 1_800.0, 86_400.0])
    async def test_that_goes_back_delays_by_a_window_at_most(self, quota: Quota, clock: Clock, back: float) -> None:
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

    async def test_that_goes_back_does_not_extend_a_pause(self, quota: Quota, clock: Clock) -> None:
        await quota.pause("1", 30, whole_project=False)
        clock.now -= 1_800
        assert (await wait_for(quota, 1)).seconds < 30 + WINDOW + 2

    async def test_that_goes_back_adds_no_units(self, quota: Quota, clock: Clock) -> None:
        await call(quota, BURST)
        await call(quota, LIVE_UNITS)
        clock.now -= 1_800
        assert (await wait_for(quota, BATCH)).seconds > 0.5


class TestPauses:
    async def test_stop_a_mailbox_in_all_workers(self, quota_of: MakeQuota) -> None:
        ours, theirs = (quota_of() for _ in range(2))
        await call(ours, 1)
        await ours.pause("1", 30, whole_project=False)
        assert 30 <= (await wait_for(theirs, 1)).seconds <= 31
        await call(theirs, 1, mailbox_id=2)

    async def test_of_the_project_stop_all_mailboxes(self, quota: Quota) -> None:
        await call(quota, 1)
        await quota.pause("1", 30, whole_project=True)
        wait = await wait_for(quota, 1, mailbox_id=2)
        assert (30 <= wait.seconds <= 31, wait.scope) == (True, QuotaScope.PROJECT)
        assert 29 < (await quota.use()).paused <= 30

    async def test_are_not_shortened_by_later_ones(self, quota: Quota) -> None:
        await call(quota, 1)
        await quota.pause("1", 30, whole_project=False)
        await quota.pause("1", 1, whole_project=False)
        assert (await wait_for(quota, 1)).seconds >= 30

    async def test_are_followed_by_no_burst(self, quota: Quota, clock: Clock) -> None:
        await call(quota, 1)
        await quota.pause("1", 30, whole_project=False)
        clock.now += 31
        assert (await wait_for(quota, BURST, live=False)).seconds > 10

    async def test_of_an_unknown_mailbox_count_as_a_full_window(self, quota: Quota) -> None:
        await quota.pause("1", 5, whole_project=False)
        assert (await wait_for(quota, 1)).seconds >= WINDOW


class TestLimits:
    @pytest.mark.parametrize("limits", [{"mailbox_limit": BATCH}, {"project_limit": BATCH}])
    async def test_without_room_for_a_batch_are_refused(self, quota_of: MakeQuota, limits: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="does not allow batches"):
            quota_of(limits=gmail_limits("2026-05", **limits))


@pytest.fixture
async def no_redis(free_port: int) -> AsyncIterator[Redis]:
    """Yield a Redis that is down."""
    redis = create_redis(RedisSettings(redis_host="127.0.0.1", redis_port=free_port, redis_db=0))
    yield redis
    await redis.aclose()


class TestWithoutRedis:
    async def test_no_units_are_taken(self, no_redis: Redis, quota_of: MakeQuota) -> None:
        quota = quota_of(no_redis)
        with pytest.raises(QuotaUnavailableError) as wait:
            await quota.take("1", 1)
        assert (wait.value.seconds > 0, wait.value.scope) == (True, QuotaScope.SERVICE)
        # Without units there is nothing to pause.
        await quota.pause("1", 3, whole_project=False)

    async def test_no_mailbox_of_a_group_takes_units(self, no_redis: Redis, quota_of: MakeQuota) -> None:
        quota = quota_of(no_redis)
        waits = await quota.take_each({"1": 2, "2": 2})
        assert [wait and wait.scope for wait in waits.values()] == [QuotaScope.SERVICE] * 2
        assert (quota.claim("1"), quota.claim("2")) == (None, None)

    async def test_reports_of_ends_are_lost_without_an_error(self, no_redis: Redis, quota_of: MakeQuota) -> None:
        quota = quota_of(no_redis)
        quota.end(Taken(identity="1", units=1, slots=(1, 1)))
        await quota.flush()

    async def test_round_trips_that_fail_keep_no_connection(self, quota_of: MakeQuota) -> None:
        async with silent_server() as silent, AsyncExitStack() as stack:
            # The client sends nothing when it connects, and its server never answers.
            pool = BlockingConnectionPool(
                port=silent.port, max_connections=1, timeout=1, socket_timeout=0.1, protocol=2, driver_info=None
            )
            redis = await stack.enter_async_context(Redis.from_pool(pool))
            quota = quota_of(redis)
            await quota.take_each({"1": 2, "2": 2})
            for identity in ("1", "2"):
                quota.end(Taken(identity=identity, units=1, slots=(1, 1)))
            await quota.flush()
            assert silent.connections == 2

    async def test_its_loss_and_its_return_are_logged_once(
        self, redis: Redis, no_redis: Redis, quota_of: MakeQuota
    ) -> None:
        registry = CollectorRegistry()
        metrics = QuotaMetrics(registry)
        lost, found = quota_of(no_redis, metrics=metrics), quota_of(redis, metrics=metrics)
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                with suppress(QuotaUnavailableError):
                    await lost.take("1", 1)
            assert registry.get_sample_value("mailroom_quota_reachable") == 0
            for _ in range(3):
                await found.take("1", 1)
        assert [entry["log_level"] for entry in logs] == ["error", "info"]
        assert registry.get_sample_value("mailroom_quota_reachable") == 1
        assert registry.get_sample_value("mailroom_quota_waits_total", {"scope": "service"}) == 3


class TestWaits:
    async def test_are_counted_by_scope(self, quota_of: MakeQuota) -> None:
        registry = CollectorRegistry()
        quota = quota_of(metrics=QuotaMetrics(registry))
        await quota.take("1", BURST)
        await wait_for(quota, BATCH)
        await quota.pause("1", 100, whole_project=True)
        await quota.take_each({"2": 2, "3": 2})
        counted = {
            scope: registry.get_sample_value("mailroom_quota_waits_total", {"scope": scope}) for scope in QuotaScope
        }
        assert counted == {"mailbox": 1, "project": 2, "day": 0, "service": 0}


class TestGroups:
    async def test_take_in_one_round_trip_and_each_call_claims_its_units(self, redis: Redis, quota: Quota) -> None:
        await quota.take_each({"1": 2})
        before = await scripts_run(redis)
        assert await quota.take_each({"1": 2, "2": 2, "3": 2}) == dict.fromkeys(("1", "2", "3"))
        assert await scripts_run(redis) - before == 3
        claimed = quota.claim("2")
        assert claimed is not None
        assert (claimed.identity, claimed.units, quota.claim("2")) == ("2", 2, None)


async def scripts_run(redis: Redis) -> int:
    """Return how many scripts Redis has run."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])
