"""What a turn does next: in which lane it goes on, and what keeps a sync from ending."""

import pytest

from services.mail.model import Lane, SyncState, WaitReason
from services.mail.provider_access.concurrency import ConcurrencyLimit
from services.mail.provider_access.quota import QuotaScope, QuotaWaitError
from services.mail.providers.errors import RateLimitedError
from services.mail.providers.gmail.adapter import GmailProvider
from services.mail.sync.listing import ListingsLagError
from services.mail.sync.turn_context import ProviderLimitError, TurnContext
from services.mail.sync.turn_steps import Release, run_turn, wait_reason
from tests.mail.conftest import OpenStage
from tests.support.mail.running_worker import QUICK_RETRIES
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn, sandbox_provider


async def run(turn: TurnContext) -> Release:
    """Runs the turn as a worker does."""
    return await run_turn(turn, poll_seconds=600.0, verify_seconds=0.0, retries=QUICK_RETRIES)


async def due_turn(s: Stage, provider: GmailProvider) -> TurnContext:
    """A turn with the mailbox without any hint that it has not seen."""
    await s.until_released()
    await s.pool.execute("UPDATE mailbox_schedule SET due_at = now(), lane = $1", Lane.LIVE)
    return await begin_turn(s, provider)


async def queue_one(s: Stage, lane: Lane) -> None:
    """Queues a new message of the provider."""
    await s.pool.execute(
        "INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal) SELECT mailbox_id, $1, $2, 0 FROM mailboxes",
        await s.at_provider.deliver(),
        lane,
    )


class TestWaitForQuota:
    @pytest.mark.parametrize("lane", [Lane.LIVE, Lane.BACKFILL])
    async def test_goes_on_in_the_lane_of_what_is_queued(self, stage: OpenStage, lane: Lane) -> None:
        async with stage(messages=2, workers=0) as s, sandbox_provider(s) as provider:
            await s.sync_with_worker()
            turn = await due_turn(s, provider)
            await queue_one(s, lane)
            await turn.quota.pause(turn.identity, 30.0, whole_project=False)
            release = await run(turn)
            assert (release.lane, release.waiting_for) == (lane, WaitReason.QUOTA)
            assert 25.0 < release.after <= 30.0

    async def test_lasts_half_a_second_at_least(self, stage: OpenStage) -> None:
        provider = ScriptedHistory(RateLimitedError("", retry_after=0.2))
        async with stage(messages=2, workers=0) as s:
            await s.sync_with_worker()
            await s.until_released()
            await s.hint()
            assert (await run(await begin_turn(s, provider))).after == 0.5

    async def test_names_the_whole_project(self, stage: OpenStage) -> None:
        async with stage(messages=2, workers=0) as s, sandbox_provider(s) as provider:
            await s.sync_with_worker()
            turn = await due_turn(s, provider)
            await queue_one(s, Lane.LIVE)
            await turn.quota.pause(turn.identity, 30.0, whole_project=True)
            assert (await run(turn)).waiting_for is WaitReason.QUOTA_PROJECT

    @pytest.mark.parametrize(
        ("wait", "reason"),
        [
            (QuotaWaitError(1.0), WaitReason.QUOTA),
            (QuotaWaitError(1.0, scope=QuotaScope.PROJECT), WaitReason.QUOTA_PROJECT),
            (QuotaWaitError(1.0, scope=QuotaScope.DAY), WaitReason.QUOTA_DAY),
            (QuotaWaitError(1.0, scope=QuotaScope.SERVICE), WaitReason.QUOTA_SERVICE),
            (ProviderLimitError(RateLimitedError("", retry_after=1.0)), WaitReason.QUOTA),
            (ProviderLimitError(RateLimitedError("", retry_after=1.0, whole_project=True)), WaitReason.QUOTA_PROJECT),
            (ListingsLagError(1.0), WaitReason.PROVIDER),
        ],
        ids=repr,
    )
    def test_names_its_reason(self, wait: QuotaWaitError, reason: WaitReason) -> None:
        assert wait_reason(wait) is reason


class RequestAtTheEnd(ConcurrencyLimit):
    """A limit that is asked for right before a queue is read. Once that is empty, a user asks for a sync."""

    def __init__(self, s: Stage) -> None:
        super().__init__(s.servers.redis)
        self._stage = s
        self.new: str | None = None

    async def limit(self, identity: str, *, most: int) -> int:
        """Delivers a message and requests a sync after the last write of the turn."""
        done = "SELECT listing_done AND NOT EXISTS (SELECT FROM fetch_queue) FROM syncs WHERE ended_at IS NULL"
        if self.new is None and await self._stage.fetchval(done):
            self.new = await self._stage.at_provider.deliver()
            await self._stage.request(count=2)
        return await super().limit(identity, most=most)


class TestEnd:
    async def test_of_a_sync_waits_for_a_request_that_came_at_last(self, stage: OpenStage) -> None:
        async with stage(messages=2, workers=0) as s, sandbox_provider(s) as provider:
            report = await s.request(count=2)
            turn = await begin_turn(s, provider)
            turn.concurrency_limit = late = RequestAtTheEnd(s)
            await run(turn)
            assert late.new in await s.stored()
            assert (await s.report(report)).sync.state is SyncState.COMPLETED
