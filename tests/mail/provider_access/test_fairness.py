"""Sharing of the project's quota among many mailboxes that want more than it allows."""

import statistics
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from heapq import heappop, heappush

import pytest
from redis.asyncio import Redis

from services.mail.model import Mailbox
from services.mail.provider_access.quota import Quota, QuotaWaitError
from services.mail.providers.gmail.limits import gmail_limits
from tests.mail.conftest import OpenStage
from tests.support.mail.quota import NothingOwed, limit_of
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.waiting import eventually

BATCH = 200
# Units per second of the project. A mailbox may take 98.
PROJECT_RATE = 1_000
LIMITS = gmail_limits("2026-05", project_limit=60 * PROJECT_RATE)
BACKFILLS = range(1, 41)
# Mailboxes with small batches for a while, since they made too many concurrent requests.
CAREFUL = range(41, 51)
LIVE = 9_999
SECONDS = 120.0


class Race:
    """Mailboxes that ask for units as soon as their wait is over, in simulated time."""

    def __init__(self, redis: Redis) -> None:
        self.now = 1_700_000_000.0
        self.quota = Quota(
            redis,
            limits=LIMITS,
            watermarks=NothingOwed(),
            redis_time=lambda: self.now,
            monotonic=lambda: self.now,
        )
        self.turns: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()
        # Seconds for which live mail waited for units.
        self.live_waits: list[float] = []

    async def run(self, units: Mapping[int, int], *, seconds: float = SECONDS, live: bool = False) -> None:
        """Let these mailboxes take this many units at a time, in batches, with or without live mail meanwhile."""
        end = self.now + seconds
        queue = [(self.now, mailbox_id) for mailbox_id in units]
        if live:
            queue.append((self.now, LIVE))
        since = self.now
        while queue:
            self.now, mailbox_id = heappop(queue)
            if self.now >= end:
                break
            wait = await self._ask(mailbox_id, units.get(mailbox_id, LIMITS.costs.fetch))
            if mailbox_id == LIVE and not wait:
                self.live_waits.append(self.now - since)
                wait = 1.0
                since = self.now + wait
            heappush(queue, (self.now + (wait or 0.2), mailbox_id))

    async def _ask(self, mailbox_id: int, units: int) -> float:
        self.asked[mailbox_id] += 1
        try:
            taken = await self.quota.take(str(mailbox_id), units, live=mailbox_id == LIVE)
        except QuotaWaitError as wait:
            return wait.seconds
        self.quota.end(taken)
        self.turns[mailbox_id] += 1
        return 0.0


@pytest.fixture
async def race(quota_redis: Redis) -> AsyncIterator[Race]:
    await quota_redis.flushdb()
    race = Race(quota_redis)
    yield race
    await race.quota.flush()


class TestFairness:
    async def test_backfills_get_equally_many_turns_for_any_demand(self, race: Race) -> None:
        asked = dict.fromkeys(BACKFILLS, BATCH) | dict.fromkeys(CAREFUL, BATCH // 2)
        # The first seconds have a burst.
        await race.run(asked, seconds=60)
        race.turns.clear()
        await race.run(asked)
        mean = statistics.mean(race.turns.values())
        # The mailboxes use all turns that the project allows.
        assert sum(race.turns[id_] * units for id_, units in asked.items()) > 0.93 * SECONDS * PROJECT_RATE
        assert [turns for turns in race.turns.values() if not 0.8 * mean <= turns <= 1.2 * mean] == []

    async def test_live_mail_does_not_wait_for_backfills(self, race: Race) -> None:
        await race.run(dict.fromkeys(BACKFILLS, BATCH), live=True)
        assert len(race.live_waits) > 0.9 * SECONDS
        assert statistics.median(race.live_waits) == 0
        assert max(race.live_waits) < 1
        assert min(race.turns[id_] for id_ in BACKFILLS) > 0

    async def test_a_waiting_mailbox_asks_about_once_per_turn(self, race: Race) -> None:
        many = dict.fromkeys(range(1, 201), BATCH)
        await race.run(many)
        assert sum(race.asked.values()) / sum(race.turns.values()) < 4
        assert min(race.turns[id_] for id_ in many) > 0

    async def test_a_mailbox_that_never_returns_does_not_block_others(self, race: Race) -> None:
        await race.run(dict.fromkeys(BACKFILLS, BATCH), seconds=60)
        race.turns.clear()
        await race.run({1: BATCH}, seconds=60)
        # All that a mailbox may take, except for some seconds.
        assert race.turns[1] * BATCH > 0.6 * limit_of(LIMITS)


class TestWorkers:
    async def test_share_a_tight_project_and_keep_live_mail_fast(self, stage: OpenStage) -> None:
        # 50 messages per second for all, so the backfills take 30 s. No mailbox waits for a slot.
        async with stage(messages=5, workers=2, slots=9, project_limit=2_000) as s:
            await s.sync(count=None)
            others = [await connect_user(s.servers.sandbox, s.auth, messages=150, user_id=s.user_id) for _ in range(10)]
            backfills = [await s.mailboxes.find(s.user_id, account_id=account.account_id) for account, _ in others]
            for mailbox in backfills:
                await s.syncs.start(mailbox, newest_count=None)
            # The first ones had the full burst without competition.
            await eventually(lambda: _have_stored(s, 150))
            before = [await _stored(s, mailbox) for mailbox in backfills]
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(new)
            # They store 50 messages per second, on a busy machine fewer: no clock is needed to see that it came first.
            assert await _have_stored_fewer(s, sum(before) + 250)
            await eventually(lambda: _have_stored(s, sum(before) + 500))
            stored = [await _stored(s, mailbox) - count for mailbox, count in zip(backfills, before, strict=True)]
            mean = statistics.mean(stored)
            # Turns are coarse beside 500 messages of ten mailboxes: some have had one more than others.
            assert [count for count in stored if not 0.3 * mean <= count <= 2.0 * mean] == []
            assert (await s.at_provider.quota())["rejected"] == 0


async def _stored(s: Stage, mailbox: Mailbox) -> int:
    return int(await s.fetchval("SELECT count(*) FROM messages WHERE mailbox_id = $1", mailbox.mailbox_id))


async def _have_stored_fewer(s: Stage, least: int) -> bool:
    return not await _have_stored(s, least)


async def _have_stored(s: Stage, least: int) -> bool:
    return int(await s.fetchval("SELECT count(*) FROM messages")) >= least
