"""Calls of a provider: their units, and the effect of a limit on later calls."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from services.kit.errors import AppError, Kind
from services.mail.model import Mailbox, MailboxStatus
from services.mail.provider_access.calls import ProviderAccess, ProviderCalls
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.provider_tokens import ProviderTokenCache, TokenSource
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.provider_access.watermarks import FEW_UNITS, Level, Mark, Watermarks
from services.mail.providers.errors import (
    LimitError,
    NoAnswerError,
    OwnLimitError,
    ProviderUnavailableError,
    RateLimitedError,
    TooConcurrentError,
    UnclearLimitError,
)
from tests.support.mail.numbered_tokens import NumberedTokens
from tests.support.mail.quota import NothingOwed, limits
from tests.support.mail.waiting import eventually

BATCH = 100
BATCH_SIZE = 10
# At the beginning of the day no units are used.
MIDNIGHT = 20_000 * 86_400.0
# Its units come back within 10 ms.
LIMITS_OF_A_SECOND = limits(mailbox=10_000, project=1_000_000, window=1, batch_units=BATCH)


@dataclass
class Asked:
    """A provider that counts calls and fails with the given errors first."""

    errors: list[BaseException] = field(default_factory=list)
    calls: int = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def mailbox(mailbox_id: int = 1) -> Mailbox:
    """Return a mailbox that is not stored."""
    return Mailbox(
        mailbox_id=mailbox_id,
        account_id=uuid4(),
        user_id=uuid4(),
        provider="google",
        email=f"a{mailbox_id}@example.com",
        status=MailboxStatus.ACTIVE,
    )


ONE, TWO = mailbox(1).identity, mailbox(2).identity


@pytest.fixture
async def access(quota_redis: Redis) -> AsyncIterator[ProviderAccess]:
    """Yield an access with an unused quota."""
    await quota_redis.flushdb()
    access = ProviderAccess(
        quotas={
            "google": Quota(quota_redis, limits=LIMITS_OF_A_SECOND, now=lambda: MIDNIGHT, watermarks=NothingOwed())
        },
        concurrency_limit=ConcurrencyLimit(quota_redis),
        tokens=ProviderTokenCache(NumberedTokens()),
    )
    yield access
    await access.close()


@pytest.fixture
def calls(access: ProviderAccess) -> ProviderCalls:
    return access.calls(mailbox())


@pytest.fixture
async def later(quota_redis: Redis) -> AsyncIterator["Later"]:
    """Yield calls by a fixed clock."""
    await quota_redis.flushdb()
    later = Later(quota_redis)
    yield later
    await later.quota.flush()


async def wait_of(quota: Quota, identity: str) -> float:
    """Return the seconds until the mailbox gets a unit; 0 if it gets one now."""
    try:
        await quota.take(identity, 1)
    except QuotaWaitError as wait:
        return wait.seconds
    return 0.0


class TestUnits:
    async def test_are_taken_before_the_call_and_counted(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        await calls.call(20, Asked(), patience=5)
        assert calls.units_taken == 20
        assert (await access.quotas["google"].use()).day_used == 20

    async def test_that_are_not_available_in_time_prevent_the_call(
        self, calls: ProviderCalls, access: ProviderAccess
    ) -> None:
        await access.quotas["google"].pause(ONE, 30, whole_project=False)
        ask = Asked()
        with pytest.raises(QuotaWaitError) as wait:
            await calls.call(20, ask, patience=5)
        assert wait.value.seconds == pytest.approx(30, abs=1)
        assert (ask.calls, calls.units_taken) == (0, 0)

    async def test_beyond_a_burst_are_taken_in_parts(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        await calls.take(2 * BATCH + 1, patience=5)
        assert calls.units_taken == (await access.quotas["google"].use()).day_used == 2 * BATCH + 1


class TestReservations:
    async def test_serve_the_calls_of_their_block_and_return_the_rest(
        self, calls: ProviderCalls, access: ProviderAccess
    ) -> None:
        async with calls.reserved(60, patience=5):
            assert (calls.units_taken, (await access.quotas["google"].use()).day_used) == (0, 60)
            await calls.call(20, Asked())
            await calls.call(5, Asked())
        assert calls.units_taken == (await access.quotas["google"].use()).day_used == 25

    async def test_that_are_used_up_are_followed_by_quota(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        async with calls.reserved(10, patience=5):
            await calls.take(BATCH + 5, patience=5)
        assert calls.units_taken == (await access.quotas["google"].use()).day_used == BATCH + 5

    async def test_take_all_units_or_none(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        await access.quotas["google"].pause(ONE, 30, whole_project=False)
        with pytest.raises(QuotaWaitError):
            async with calls.reserved(20):
                raise AssertionError("nothing is reserved")
        assert (calls.units_taken, (await access.quotas["google"].use()).day_used) == (0, 0)

    async def test_survive_a_take_that_fails(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        async with calls.reserved(20, patience=5):
            await access.quotas["google"].pause(ONE, 30, whole_project=False)
            with pytest.raises(QuotaWaitError):
                await calls.take(21)
            assert calls.units_taken == 0
            await calls.take(20)
        assert calls.units_taken == (await access.quotas["google"].use()).day_used == 20

    async def test_end_with_a_block_that_fails(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        with pytest.raises(ZeroDivisionError):
            async with calls.reserved(20, patience=5):
                raise ZeroDivisionError
        assert (calls.units_taken, (await access.quotas["google"].use()).day_used) == (0, 0)

    async def test_within_others_take_quota_and_end_separately(
        self, calls: ProviderCalls, access: ProviderAccess
    ) -> None:
        async with calls.reserved(20, patience=5):
            async with calls.reserved(10, patience=5):
                await calls.take(4)
            assert (await access.quotas["google"].use()).day_used == 24
            await calls.take(20)
        assert calls.units_taken == (await access.quotas["google"].use()).day_used == 24


class TestParts:
    async def test_of_a_take_are_waited_for_after_the_first(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        most = access.quotas["google"].most_units
        async with calls.reserved(most + 2_000, patience=0):
            assert calls.reserved_units == most + 2_000


class TestFurtherUnits:
    async def test_are_taken_as_far_as_they_remain(self, later: "Later") -> None:
        async with later.calls.reserved(20, more=30):
            assert later.calls.reserved_units == 50
            async with later.calls.reserved(20, more=10**6):
                assert later.calls.reserved_units == later.quota.most_units
                with pytest.raises(QuotaWaitError):
                    await later.quota.take(ONE, 1, live=False)
        assert later.calls.reserved_units == 0
        assert (await later.quota.use()).day_used == 0

    async def test_stay_within_the_mark_of_a_mailbox(self, quota_redis: Redis) -> None:
        await quota_redis.flushdb()
        later = Later(quota_redis, watermarks=Marked())
        assert (await later.quota.take(ONE, 2, more=3)).units == 5
        assert (await later.quota.take(ONE, 2, more=1000)).units == FEW_UNITS - 5

    async def test_are_none_while_mailboxes_wait_for_the_project(self, quota_redis: Redis) -> None:
        await quota_redis.flushdb()
        later = Later(quota_redis, project_limit=1_000)
        # The project's burst is 416 units, of which a third mailbox leaves 300, and the first one most of the rest.
        await later.quota.take("3", 116, live=False)
        assert (await later.quota.take(ONE, 20, more=1_000)).units == 20 + 28
        await later.quota.take("3", 172, live=False)
        with pytest.raises(QuotaWaitError):
            await later.quota.take(TWO, 100, live=False)
        assert (await later.quota.take(ONE, 20, more=30)).units == 20


class TestRepeats:
    async def test_follow_a_call_without_an_answer_once(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        asked = Asked([NoAnswerError()])
        assert await calls.call(20, asked, patience=5) == "answer"
        assert asked.calls == 2
        # Both calls may have arrived.
        assert calls.units_taken == (await access.quotas["google"].use()).day_used == 40
        asked = Asked([NoAnswerError(), NoAnswerError()])
        with pytest.raises(NoAnswerError):
            await calls.call(20, asked, patience=5)
        assert asked.calls == 2

    @pytest.mark.parametrize("error", [ProviderUnavailableError(), RateLimitedError("", retry_after=0)])
    async def test_follow_no_other_failure(self, calls: ProviderCalls, error: Exception) -> None:
        asked = Asked([error])
        with pytest.raises(type(error)):
            await calls.call(20, asked, patience=5)
        assert asked.calls == 1

    async def test_are_left_out_without_units(self, later: "Later") -> None:
        asked = Asked([NoAnswerError()])
        await later.calls.take(later.quota.most_units)
        with pytest.raises(NoAnswerError):
            await later.calls.call_prepaid(asked)
        assert asked.calls == 1

    async def test_of_a_groups_call_take_its_units_too(self, later: "Later") -> None:
        await later.quota.take_each({ONE: 2})
        await later.calls.call_prepaid(Asked([NoAnswerError()]))
        assert await later.day_used() == 4


class TestEnds:
    """Units of a call with a reported end come back one window later, others after the longest call."""

    @pytest.mark.parametrize(
        "error",
        [ProviderUnavailableError(), RateLimitedError("", retry_after=0), ZeroDivisionError()],
        ids=["outage", "limit", "bug"],
    )
    async def test_are_reported_for_failed_calls_too(self, later: "Later", error: Exception) -> None:
        await later.calls.call(20, Asked())
        with pytest.raises(type(error)):
            await later.calls.call(20, Asked([error]))
        assert await later.in_use_after_a_window() == 0

    @pytest.mark.parametrize(
        ("errors", "units"),
        [([NoAnswerError(), NoAnswerError()], 40), ([asyncio.CancelledError()], 20)],
        ids=["no answer", "cancelled"],
    )
    async def test_are_not_reported_if_the_call_may_still_arrive(
        self, later: "Later", errors: list[BaseException], units: int
    ) -> None:
        with pytest.raises(type(errors[0])):
            await later.calls.call(20, Asked(errors))
        assert await later.in_use_after_a_window() == units

    async def test_of_a_groups_units_are_reported_by_each_call(self, later: "Later") -> None:
        await later.quota.take_each({ONE: 2, TWO: 2})
        await later.calls.call_prepaid(Asked())
        # The other mailbox has not called yet.
        assert await later.in_use_after_a_window() == 2

    async def test_are_not_reported_for_parts_that_may_still_arrive(self, later: "Later") -> None:
        await later.calls.take(60)
        await later.calls.call_prepaid(Asked(), lost_units=lambda answer: 20 if answer == "answer" else 0)
        assert later.calls.units_taken == 60
        assert await later.in_use_after_a_window() == 20

    async def test_of_reservations_are_reported_by_their_calls(self, later: "Later") -> None:
        async with later.calls.reserved(60):
            await later.calls.call(20, Asked())
            await later.calls.call(30, Asked([NoAnswerError()]))
            assert await later.day_used() == 60 + 30
            # The repeat has taken none of the reserved units.
            await later.calls.take(10, patience=0)
            assert await later.day_used() == 60 + 30
        assert await later.in_use_after_a_window() == 30 + 10


class NoTokens:
    """An auth service without a token."""

    async def access_token(self, *_: UUID, refused_fingerprint: str = "") -> tuple[str, datetime]:
        """Raise AppError."""
        del refused_fingerprint
        raise AppError(Kind.UNAVAILABLE, "auth_unavailable", "Try again later.")


class TestTokens:
    async def test_that_cannot_be_had_cost_no_units(self, quota_redis: Redis) -> None:
        await quota_redis.flushdb()
        later, asked = Later(quota_redis, tokens=NoTokens()), Asked()
        await later.quota.take_each({ONE: 2})
        with pytest.raises(AppError, match="auth_unavailable"):
            await later.calls.call(20, asked)
        assert (asked.calls, later.calls.units_taken) == (0, 0)
        assert (await later.quota.use()).window_used == await later.day_used() == 0


class Marked(NothingOwed):
    """Watermarks under which a mailbox may have few units in use."""

    async def cover(self, units: Mapping[str, int], *, many: Collection[str] = ()) -> Mapping[str, Mark]:
        """Allow few units."""
        del many
        return dict.fromkeys(units, Mark(allows=Level.FEW, owes=Level.NONE))


class Later:
    """Calls of mailbox 1 by a fixed clock, until one window has passed."""

    def __init__(
        self,
        redis: Redis,
        *,
        project_limit: int = 1_000_000,
        watermarks: Watermarks | None = None,
        tokens: TokenSource | None = None,
    ) -> None:
        self._now = 1_700_000_000.0
        self.quota = Quota(
            redis,
            limits=limits(mailbox=10_000, project=project_limit, batch_units=BATCH, longest_call=1_000.0),
            now=lambda: MIDNIGHT,
            watermarks=watermarks or NothingOwed(),
            redis_time=lambda: self._now,
            monotonic=lambda: self._now,
        )
        access = ProviderAccess(
            quotas={"google": self.quota},
            concurrency_limit=ConcurrencyLimit(redis),
            tokens=ProviderTokenCache(tokens or NumberedTokens()),
        )
        self.calls = access.calls(mailbox())

    async def day_used(self) -> int:
        """Return the project's units of the day."""
        return (await self.quota.use()).day_used

    async def in_use_after_a_window(self) -> int:
        """Return the project's units in use after one window."""
        await self.quota.flush()
        self._now += 60.0 + 2
        return (await self.quota.use()).window_used


@dataclass(frozen=True)
class Limit:
    """A limit of the provider, and the seconds for which it stops the mailbox and others."""

    error: LimitError
    seconds: float
    others_wait: bool
    batch_size: int


LIMITS = {
    "the mailbox's rate": Limit(RateLimitedError("", retry_after=30), 30, others_wait=False, batch_size=BATCH_SIZE),
    "the project's rate": Limit(
        RateLimitedError("", retry_after=30, whole_project=True), 30, others_wait=True, batch_size=BATCH_SIZE
    ),
    "one of our own": Limit(OwnLimitError("", retry_after=30), 0, others_wait=False, batch_size=BATCH_SIZE),
    "concurrent requests": Limit(TooConcurrentError(), 2, others_wait=False, batch_size=BATCH_SIZE // 2),
}


class TestLimits:
    @pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
    async def test_stop_the_calls_of_all_processes(
        self, calls: ProviderCalls, access: ProviderAccess, limit: Limit
    ) -> None:
        async def other_has_units() -> bool:
            return not await wait_of(access.quotas["google"], TWO)

        await eventually(other_has_units)
        with pytest.raises(type(limit.error)):
            await calls.call_prepaid(Asked([limit.error]))
        assert await wait_of(access.quotas["google"], ONE) == pytest.approx(limit.seconds, abs=0.5)
        assert (await wait_of(access.quotas["google"], TWO) > 20) is limit.others_wait
        assert await access.concurrency_limit.limit(ONE, most=BATCH_SIZE) == limit.batch_size

    async def test_that_do_not_say_whose_they_are_stop_a_mailbox_until_another_one_meets_them(
        self, access: ProviderAccess
    ) -> None:
        async def meet(mailbox_id: int) -> None:
            with pytest.raises(UnclearLimitError):
                await access.calls(mailbox(mailbox_id)).call_prepaid(Asked([UnclearLimitError("", retry_after=30)]))

        quota = access.quotas["google"]
        await meet(1)
        await meet(1)
        assert await wait_of(quota, ONE) > 20
        assert await wait_of(quota, TWO) < 2
        await meet(2)
        assert await wait_of(quota, mailbox(3).identity) > 20

    async def test_do_not_apply_after_other_errors(self, calls: ProviderCalls, access: ProviderAccess) -> None:
        with pytest.raises(ProviderUnavailableError):
            await calls.call_prepaid(Asked([ProviderUnavailableError()]))
        assert await wait_of(access.quotas["google"], ONE) < 0.1
        assert await access.concurrency_limit.limit(ONE, most=BATCH_SIZE) == BATCH_SIZE
