"""Quota windows against an exact model: no window of the provider exceeds the limit, whenever calls arrive."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.provider_access.settlement import Taken
from services.mail.provider_access.watermarks import Level, Mark
from services.mail.store.control.quota_watermarks import Recent
from tests.support.mail.quota import limits

WINDOW = 60.0
LONGEST = 130.0
MAILBOX_LIMIT = 300
PROJECT_LIMIT = 500
BATCH = 100
EPOCH = 1_700_000_000.0
# Longer than any of the simulated calls.
_EVER = 10**9
LIMITS = limits(
    mailbox=MAILBOX_LIMIT,
    project=PROJECT_LIMIT,
    window=WINDOW,
    longest_call=LONGEST,
    batch_units=BATCH,
    # Without pacing the windows are full most of the time.
    burst=1.0,
)


@dataclass
class Call:
    """A call that may reach the provider at any moment from `begun` to `ended`."""

    mailbox_id: int
    units: int
    begun: float
    ended: float = _EVER


@dataclass
class World:
    """A provider and its callers. `now` is the true time; Redis's clock may differ from it."""

    now: float = EPOCH
    clock_error: float = 0.0
    calls: list[Call] = field(default_factory=list)

    def redis_time(self) -> float:
        """Return the time of Redis's clock."""
        return self.now + self.clock_error

    def most(self, calls: list[Call], *, window: float = WINDOW) -> int:
        """Return the most units that any window can contain, for any arrival of each call.

        A window contains most if it begins at the end of a call: it can contain the calls that end after its begin and
        begin before its end. Fixed windows are among these.
        """
        return max(
            (
                sum(call.units for call in calls if call.ended >= begin and call.begun < begin + window)
                for begin in (call.ended for call in calls)
            ),
            default=0,
        )

    def check(self, *, window: float = WINDOW) -> None:
        """Assert that both limits hold."""
        by_mailbox = defaultdict(list)
        for call in self.calls:
            call.ended = min(call.ended, call.begun + LONGEST)
            by_mailbox[call.mailbox_id].append(call)
        assert all(self.most(calls, window=window) <= MAILBOX_LIMIT for calls in by_mailbox.values())
        assert self.most(self.calls, window=window) <= PROJECT_LIMIT


class TrueWatermarks:
    """Exact watermarks: the window is owed if it contains a call."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def cover(self, units: Mapping[str, int], **_: object) -> Mapping[str, Mark]:
        """Return the mailboxes' use, rounded up to all or nothing."""
        owed = {id_: Level.MANY if self._recent(int(id_)) else Level.NONE for id_ in units}
        return {id_: Mark(allows=Level.MANY, owes=level) for id_, level in owed.items()}

    def called(self, identities: object) -> None:
        """Do nothing: the world knows."""

    async def recent(self) -> Recent:
        """Count the mailboxes with calls."""
        called = {call.mailbox_id for call in self._world.calls if self._recent(call.mailbox_id)}
        return Recent(many=len(called), few=0)

    def _recent(self, mailbox_id: int) -> bool:
        return any(
            call.mailbox_id == mailbox_id and call.ended > self._world.now - WINDOW for call in self._world.calls
        )


@dataclass(frozen=True)
class Take:
    """A mailbox asks for units; the worker may die during the call."""

    mailbox_id: int
    units: int
    live: bool


@dataclass(frozen=True)
class Pass:
    """Time passes."""

    seconds: float


@dataclass(frozen=True)
class Settle:
    """A call under way ends, turns out not to have been made, or is never reported."""

    which: int
    how: str


@dataclass(frozen=True)
class Pause:
    """The provider asks for a pause."""

    mailbox_id: int
    whole_project: bool
    seconds: float


@dataclass(frozen=True)
class SetBack:
    """Redis's clock goes back."""

    seconds: float


@dataclass(frozen=True)
class SetAhead:
    """Redis's clock jumps ahead."""

    seconds: float


@dataclass(frozen=True)
class Restart:
    """The process ends without a word, and another one begins."""


@dataclass(frozen=True)
class Forget:
    """Redis loses all data while no call is under way."""


Step = Take | Pass | Settle | Pause | SetBack | SetAhead | Restart | Forget
TAKES = st.builds(Take, st.integers(1, 3), st.sampled_from([2, 20, 40, BATCH]), st.booleans())
STEPS = st.one_of(
    TAKES,
    TAKES,
    TAKES,
    st.builds(Pass, st.floats(0.0, 20.0)),
    st.builds(Pass, st.sampled_from([0.0, 1.0, 59.0, 59.9, 60.0, 61.0, 129.0, 200.0])),
    st.builds(Settle, st.integers(0, 5), st.sampled_from(["end", "end", "end", "give back", "die"])),
    st.builds(Pause, st.integers(1, 3), st.booleans(), st.floats(0.0, 40.0)),
)
UNLUCKY_STEPS = st.one_of(
    STEPS,
    st.builds(SetBack, st.floats(0.0, 3600.0)),
    # A shorter jump is not noticed: a request can be under way as long.
    st.builds(SetAhead, st.floats(1.01, 7200.0)),
    st.builds(Forget),
)
JUMPS = (10.0, 60.0, 3600.0)


class Replay:
    """Runs the steps against a real Redis."""

    def __init__(self, redis: Redis) -> None:
        self.world = World()
        self._redis = redis
        self._quota = self._process()
        self._under_way: list[tuple[Taken, Call]] = []

    def _process(self) -> Quota:
        return Quota(
            self._redis,
            limits=LIMITS,
            watermarks=TrueWatermarks(self.world),
            now=lambda: 20_000 * 86_400.0,
            redis_time=self.world.redis_time,
            monotonic=lambda: self.world.now,
        )

    async def run(self, steps: list[Step]) -> None:
        """Run all steps, then end the calls under way."""
        for step in steps:
            await self.step(step)
        await self._quota.flush()
        for _, call in self._under_way:
            call.ended = call.begun + LONGEST
        self.world.check()

    async def step(self, step: Step) -> None:
        """Take one step."""
        match step:
            case Take():
                await self._take(step)
            case Pass():
                self.world.now += step.seconds
            case Settle() if self._under_way:
                await self._settle(step)
            case Pause():
                await self._quota.pause(str(step.mailbox_id), step.seconds, whole_project=step.whole_project)
            case SetBack():
                self.world.clock_error -= step.seconds
            case SetAhead():
                self.world.clock_error += step.seconds
            case Restart():
                self._quota, self._under_way = self._process(), []
            case Forget():
                while self._under_way:
                    await self._settle(Settle(0, "end"))
                await self._redis.flushdb()

    async def _take(self, take: Take) -> None:
        try:
            taken = await self._quota.take(str(take.mailbox_id), take.units, live=take.live)
        except QuotaWaitError:
            return
        call = Call(take.mailbox_id, take.units, self.world.now)
        self.world.calls.append(call)
        self._under_way.append((taken, call))

    async def _settle(self, settle: Settle) -> None:
        taken, call = self._under_way.pop(settle.which % len(self._under_way))
        if settle.how == "give back":
            self.world.calls.remove(call)
            self._quota.give_back(taken)
        elif self.world.now <= call.begun + LONGEST:
            call.ended = self.world.now
            if settle.how == "end":
                self._quota.end(taken)
        await self._quota.flush()


async def replay(redis: Redis, steps: list[Step]) -> World:
    """Run the steps against an empty Redis."""
    await redis.flushdb()
    replay = Replay(redis)
    await replay.run(steps)
    return replay.world


def hammer(*, seconds: float) -> Iterator[Step]:
    """Yield the steps of mailboxes that always want more, for five windows, with calls of this many seconds."""
    for moment in range(1_000):
        for mailbox_id in (1, 2):
            yield Take(mailbox_id, BATCH if moment % 2 else 20, live=moment % 7 == 0)
        yield Pass(0.3)
        if moment * 0.3 >= seconds:
            yield Settle(0, "end")
            yield Settle(0, "end")


class TestNoWindowSeesMoreThanTheLimit:
    @settings(max_examples=150)
    @given(steps=st.lists(STEPS, min_size=20, max_size=120))
    async def test_for_any_calls_and_ends(self, quota_redis: Redis, steps: list[Step]) -> None:
        await replay(quota_redis, steps)

    @settings(max_examples=150)
    @given(steps=st.lists(UNLUCKY_STEPS, min_size=20, max_size=120))
    async def test_after_redis_lost_its_data_or_its_clock_was_set(self, quota_redis: Redis, steps: list[Step]) -> None:
        await replay(quota_redis, steps)

    async def test_under_permanent_load(self, quota_redis: Redis) -> None:
        world = await replay(quota_redis, list(hammer(seconds=0)))
        # And the units are used, except those kept for live mail.
        assert sum(call.units for call in world.calls) > 0.9 * 5 * PROJECT_LIMIT

    @pytest.mark.parametrize("seconds", [0.3, 5.0, 70.0, 125.0])
    async def test_under_permanent_load_of_long_calls(self, quota_redis: Redis, seconds: float) -> None:
        world = await replay(quota_redis, list(hammer(seconds=seconds)))
        assert len(world.calls) > 10


def disturbed(*disturbances: Step) -> list[Step]:
    """Return the steps of a permanent load, with disturbances after one window and after two, all within a window."""
    steps = list(hammer(seconds=0.3))
    for number, disturbance in enumerate(disturbances):
        steps.insert((len(steps) // 5) + 40 * number, disturbance)
    return steps


class TestClockThatIsSet:
    """Jumps of Redis's clock while mailboxes use all that they may."""

    @pytest.mark.parametrize("seconds", JUMPS)
    @pytest.mark.parametrize("back", [False, True])
    async def test_gives_no_units_back_early(self, quota_redis: Redis, seconds: float, *, back: bool) -> None:
        jumps: list[Step] = [SetAhead(seconds), *([SetBack(seconds)] if back else []), SetAhead(seconds)]
        world = await replay(quota_redis, disturbed(*jumps))
        assert sum(call.units for call in world.calls) > 0.85 * 5 * PROJECT_LIMIT

    @pytest.mark.parametrize("seconds", JUMPS)
    async def test_is_told_once(self, quota_redis: Redis, seconds: float) -> None:
        with structlog.testing.capture_logs() as logs:
            await replay(quota_redis, disturbed(SetAhead(seconds)))
        assert [entry["seconds"] for entry in logs if entry["log_level"] == "warning"] == [seconds]

    async def test_by_less_than_a_second_shortens_the_window_by_no_more(self, quota_redis: Redis) -> None:
        """Such a jump is not noticed: a request can be under way as long."""
        await quota_redis.flushdb()
        replay = Replay(quota_redis)
        for step in disturbed(SetAhead(0.9), SetAhead(0.9), SetAhead(0.9)):
            await replay.step(step)
        replay.world.check(window=WINDOW - 3 * 0.9)

    @pytest.mark.parametrize("seconds", JUMPS)
    async def test_before_a_process_has_asked_costs_one_more_limit_at_most(
        self, quota_redis: Redis, seconds: float
    ) -> None:
        """Without an earlier answer of Redis nothing tells that the clock was set."""
        await quota_redis.flushdb()
        replay = Replay(quota_redis)
        world = replay.world
        for step in disturbed(SetAhead(seconds), Restart()):
            await replay.step(step)
        assert world.most(world.calls) <= 2 * PROJECT_LIMIT
