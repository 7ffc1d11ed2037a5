"""Many mailboxes that together want more than the project is allowed: who gets how much of it."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from services.mail.model import Mailbox
from services.mail.provider_access.quota import Quota, QuotaProfile, QuotaWaitError
from services.mail.providers.gmail.limits import GMAIL_COSTS
from tests.mail.conftest import OpenStage
from tests.support.mail.quota import NothingOwed
from tests.support.mail.servers import Servers
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.waiting import eventually

BATCH = 100
# For all, where the end of a call is heard of a quarter of a second later; one mailbox may take more.
PROJECT_RATE = 4_000
PROFILE = QuotaProfile(
    mailbox_limit=20_000, project_limit=6_000, daily_limit=80_000_000, window=1.0, costs=GMAIL_COSTS["2026-05"]
)
SECONDS = 2.0
BACKFILLS = range(1, 13)
# Those whose batches are small for a while, since the provider complained about too many calls at once.
CAREFUL = range(13, 17)
LIVE = 99


@pytest.fixture
async def quota(servers: Servers) -> AsyncIterator[Quota]:
    await servers.forget_quota()
    made = Quota(servers.redis, profile=PROFILE, batch_units=BATCH, watermarks=NothingOwed())
    # The project's burst is spent, so that all wait in line from the first moment on.
    made.end(await made.take(98, made.most_units, live=False))
    yield made
    await servers.forget_quota()


async def backfill(quota: Quota, mailbox_id: int, *, units: int, seconds: float = SECONDS) -> int:
    """How often a mailbox gets so many units in a while of asking again as soon as it is told to."""
    turns = 0
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        try:
            quota.end(await quota.take(mailbox_id, units, live=False))
            turns += 1
        except QuotaWaitError as wait:
            await asyncio.sleep(wait.seconds)
    return turns


async def live(quota: Quota, *, seconds: float = SECONDS) -> list[float]:
    """How long new messages of a mailbox wait for their units, one every now and then."""
    loop = asyncio.get_running_loop()
    waits = []
    end = loop.time() + seconds
    while (began := loop.time()) < end:
        while True:
            try:
                quota.end(await quota.take(LIVE, quota.profile.costs.get))
                break
            except QuotaWaitError as wait:
                await asyncio.sleep(wait.seconds)
        waits.append(loop.time() - began)
        await asyncio.sleep(0.05)
    return waits


class TestFairness:
    async def test_backfills_get_equally_many_turns_however_much_they_ask_for(self, quota: Quota) -> None:
        turns = await asyncio.gather(
            *(backfill(quota, mailbox_id, units=BATCH) for mailbox_id in BACKFILLS),
            *(backfill(quota, mailbox_id, units=BATCH // 2) for mailbox_id in CAREFUL),
        )
        mean = statistics.mean(turns)
        # Nothing is left over: so many turns are all that the project allows.
        assert mean * (len(BACKFILLS) + len(CAREFUL) / 2) * BATCH > 0.8 * SECONDS * PROJECT_RATE
        assert [turn for turn in turns if not 0.6 * mean <= turn <= 1.4 * mean] == []

    async def test_new_mail_waits_for_no_backfill(self, quota: Quota) -> None:
        backfills = asyncio.gather(*(backfill(quota, id_, units=BATCH) for id_ in BACKFILLS))
        waits, turns = await asyncio.gather(live(quota), backfills)
        assert statistics.median(waits) < 0.05
        assert max(waits) < 0.5
        assert min(turns) > 0

    async def test_whoever_waits_asks_about_once_per_turn(self, servers: Servers, quota: Quota) -> None:
        asked = await calls(servers.redis)
        # There are units for about one round.
        turns = await asyncio.gather(*(backfill(quota, id_, units=BATCH) for id_ in range(1, 81)))
        assert (await calls(servers.redis) - asked) / (sum(turns) + 80) < 3
        assert max(turns) - min(turns) <= 1

    async def test_mailboxes_that_never_come_back_keep_nobody_waiting_for_long(self, quota: Quota) -> None:
        for id_ in range(1000, 1020):
            with suppress(QuotaWaitError):
                quota.end(await quota.take(id_, BATCH, live=False))
        turns = await backfill(quota, 1, units=BATCH)
        assert turns * BATCH > 0.5 * SECONDS * PROJECT_RATE


class TestWorkers:
    async def test_share_a_tight_project_among_all_mailboxes_and_keep_new_mail_quick(self, stage: OpenStage) -> None:
        # 50 messages per second for all, so that the backfills take 30 s. Nobody waits for a slot.
        async with stage(messages=5, workers=2, slots=9, project_limit=2_000) as s:
            await s.sync(count=None)
            others = [await connect_user(s.servers.sandbox, s.auth, messages=150, user_id=s.user_id) for _ in range(10)]
            backfills = [await s.mailboxes.find(s.user_id, account_id=account.account_id) for account, _ in others]
            for mailbox in backfills:
                await s.syncs.start(mailbox, newest_count=None)
            # The first ones met a full bucket and nobody else.
            await eventually(lambda: _have_stored(s, 150))
            before = [await _stored(s, mailbox) for mailbox in backfills]
            began = time.monotonic()
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(new)
            assert time.monotonic() - began < 4
            await eventually(lambda: _have_stored(s, sum(before) + 300))
            stored = [await _stored(s, mailbox) - count for mailbox, count in zip(backfills, before, strict=True)]
            mean = statistics.mean(stored)
            assert [count for count in stored if not 0.5 * mean <= count <= 1.5 * mean] == []
            assert (await s.at_provider.quota())["rejected"] == 0


async def _stored(s: Stage, mailbox: Mailbox) -> int:
    return int(await s.fetchval("SELECT count(*) FROM messages WHERE mailbox_id = $1", mailbox.mailbox_id))


async def _have_stored(s: Stage, least: int) -> bool:
    return int(await s.fetchval("SELECT count(*) FROM messages")) >= least


async def calls(redis: Redis) -> int:
    """How many scripts Redis has run."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])
