"""The bounds of a turn, the cost of a failed turn for others, and its report to the user."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from uuid import uuid4

import structlog

from services.kit.settings import RedisSettings
from services.kit.stores.redis_client import create_redis
from services.mail.model import Lane, MailboxStatus, SyncState, WaitReason
from services.mail.providers.gmail.http.deadlines import Deadlines
from services.mail.store.control.leases import Lease
from services.mail.sync.turn import LONGEST_BACKOFF
from tests.mail.conftest import OpenStage
from tests.support.mail.cost import begin_count
from tests.support.mail.running_worker import WorkerOptions
from tests.support.mail.stage import Stage, connect_user
from tests.support.mail.waiting import PATIENCE, eventually

# Calls do not fail before a test ends.
PATIENT = Deadlines(small=60.0, between=60.0, whole=60.0, longest=60.0)
LEASE = 0.9
# For tests that fail if a busy machine delays a renewal by half of it.
LONGER_LEASE = 4.5


async def is_slow(s: Stage) -> bool:
    """Return whether the provider has a call that it does not answer."""
    return any(await s.at_provider.fired())


async def hang(s: Stage, method: str, **more: object) -> None:
    """Let the provider leave calls of a method unanswered."""
    await s.at_provider.fail({"method": method, "kind": "timeout", "seconds": 30.0, **more})


async def lease_of(s: Stage) -> Mapping[str, object]:
    """Return owner and epoch of the mailbox's lease."""
    row = await s.pool.fetchrow("SELECT lease_owner, lease_epoch FROM mailbox_schedule")
    assert row is not None
    return dict(row)


class TestLease:
    async def test_is_renewed_during_a_call_that_takes_longer(self, stage: OpenStage) -> None:
        async with stage(messages=3, lease_seconds=LONGER_LEASE, deadlines=PATIENT) as s:
            await s.at_provider.fail({"method": "gmail.messages.list", "kind": "slow", "seconds": 600.0, "count": 1})
            report = await s.request()
            await eventually(lambda: is_slow(s))
            held = await lease_of(s)
            assert held["lease_owner"] is not None
            end = await s.fetchval("SELECT lease_until FROM mailbox_schedule")

            async def would_have_ended() -> bool:
                return bool(await s.fetchval("SELECT now() > $1", end))

            await eventually(would_have_ended)
            assert await lease_of(s) == held
            assert await s.fetchval("SELECT lease_until > now() FROM mailbox_schedule")
            await s.servers.sandbox.control("DELETE", "faults")
            assert (await s.ended(report)).sync.state is SyncState.COMPLETED

    async def test_that_is_lost_cancels_the_current_call(self, stage: OpenStage) -> None:
        async with stage(messages=3, lease_seconds=LONGER_LEASE, deadlines=PATIENT) as s:
            await hang(s, "gmail.messages.list", count=1)
            report = await s.request()
            await eventually(lambda: is_slow(s))
            lost = time.monotonic()
            await s.pool.execute(
                "UPDATE mailbox_schedule SET lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = now()",
                uuid4(),
            )

            async def is_told() -> bool:
                return s.workers[0].count("sync_turns_total", outcome="lease_lost") == 1

            await eventually(is_told)
            # It is renewed after a third of its time.
            assert time.monotonic() - lost < 0.8 * LONGER_LEASE
            # The mailbox is free, and the next turn continues its work.
            assert (await s.ended(report)).sync.state is SyncState.COMPLETED

    async def test_that_cannot_be_renewed_cancels_the_turn(self, stage: OpenStage) -> None:
        async with stage(messages=3, lease_seconds=LEASE, deadlines=PATIENT) as s:
            await hang(s, "gmail.messages.list", count=1)
            await s.request()
            await eventually(lambda: is_slow(s))
            async with s.pool.acquire() as blocker, blocker.transaction():
                await blocker.execute("SELECT FROM mailbox_schedule FOR UPDATE")

                async def is_told() -> bool:
                    return s.workers[0].count("sync_turns_total", outcome="lease_lost") == 1

                await eventually(is_told)


class TestBound:
    async def test_cancels_a_turn_beyond_its_time_limit(self, stage: OpenStage) -> None:
        async with stage(messages=3, deadlines=PATIENT, longest_turn=2.0) as s:
            await hang(s, "gmail.messages.list", count=1)
            with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
                report = await s.request()
                await s.until_turn_failed()
            [failed] = [entry for entry in logs if entry["event"] == "turn failed"]
            assert (failed["reason"], failed["step"]) == ("turn_timeout", "listing")
            ended = await s.ended(report)
            assert ended.sync.state is SyncState.COMPLETED

    async def test_interrupts_history_and_continues_at_the_same_page(self, stage: OpenStage) -> None:
        async with stage(messages=2, page_size=5) as s:
            await s.sync(count=None)
            epoch = int(await s.fetchval("SELECT lease_epoch FROM mailbox_schedule"))
            calls = await s.at_provider.calls("gmail.history.list")
            await s.at_provider.deliver_many(60)
            await s.at_provider.fail({"method": "gmail.history.list", "kind": "slow", "seconds": 0.4})
            await s.hint()
            await s.until_caught_up()
            claims = int(await s.fetchval("SELECT lease_epoch FROM mailbox_schedule")) - epoch
            pages = await s.at_provider.calls("gmail.history.list") - calls
            assert claims >= 2
            # 60 messages are 12 pages of 5; a page is read twice at most where a turn ends.
            assert 12 <= pages <= 13 + claims
            await s.at_provider.fail()
            await s.mirrors()


# A quarter of four slots is one. A claim after a failed turn is at least the second one.
_FAILING_AT_WORK = "SELECT count(*) FROM mailbox_schedule WHERE lease_owner IS NOT NULL AND attempts > 1"


class TestFailingMailboxes:
    async def test_leave_slots_for_others(self, stage: OpenStage) -> None:
        slow = Deadlines(small=2.5, between=2.5, whole=2.5, longest=5.0)
        async with stage(messages=2, slots=4, deadlines=slow) as s:
            hung = [await connect_user(s.servers.sandbox, s.auth, messages=2, user_id=s.user_id) for _ in range(4)]
            await s.sync()
            rules = [{"user": at.email, "method": "gmail.*", "kind": "timeout", "seconds": 30.0} for _, at in hung]
            await s.servers.sandbox.control("PUT", "faults", {"rules": rules})
            for account, _ in hung:
                mailbox = await s.mailboxes.find(s.user_id, account_id=account.account_id)
                await s.syncs.start(mailbox, newest_count=None)

            async def have_failed() -> bool:
                return int(await s.fetchval("SELECT count(*) FROM mailbox_schedule WHERE last_error <> ''")) == 4

            await eventually(have_failed)
            for _ in range(3):
                new = await s.at_provider.deliver()
                await s.pool.execute(
                    "UPDATE mailbox_schedule SET due_at = now(), lane = $1 WHERE last_error = ''", Lane.LIVE
                )
                await s.hint()
                began = time.monotonic()
                while not await s.fetchval("SELECT EXISTS (SELECT FROM messages WHERE external_id = $1)", new):
                    assert int(await s.fetchval(_FAILING_AT_WORK)) <= 1
                assert time.monotonic() - began < PATIENCE
            await s.servers.sandbox.control("DELETE", "faults")

    async def test_that_are_idle_delay_no_others(self, stage: OpenStage) -> None:
        async with stage(messages=2, poll_seconds=0.5, deadlines=PATIENT) as s:
            _, other = await connect_user(s.servers.sandbox, s.auth, messages=2, user_id=s.user_id)
            await s.sync()
            mailbox = await s.mailboxes.find(s.user_id, email=other.email)
            await s.ended(await s.syncs.start(mailbox, newest_count=None))
            rule = {"user": other.email, "method": "gmail.history.list", "kind": "timeout", "seconds": 30.0, "count": 1}
            await s.servers.sandbox.control("PUT", "faults", {"rules": [rule]})
            await eventually(lambda: is_slow(s))
            new = await s.at_provider.deliver()
            # Long before the call of the other mailbox ends.
            await asyncio.wait_for(s.until_stored(new), PATIENCE)


class TestRedisGone:
    async def test_is_reported_without_a_busy_loop(self, stage: OpenStage) -> None:
        async with stage(messages=3, workers=0) as s:
            async with s.another_worker():
                await s.sync(count=None)
            redis = s.servers.redis
            dead = create_redis(RedisSettings(redis_host="127.0.0.1", redis_port=9, redis_db=0))
            s.servers = replace(s.servers, redis=dead)
            epoch = int(await s.fetchval("SELECT lease_epoch FROM mailbox_schedule"))
            async with s.another_worker() as worker:
                report = await s.request(count=None)
                await s.until_turn_failed(times=5)
                now = await s.report(report)
                claims = int(await s.fetchval("SELECT lease_epoch FROM mailbox_schedule")) - epoch
                assert claims <= 6
                assert worker.count("sync_turns_total", outcome="done") == 0
                assert worker.count("sync_turns_total", outcome="quota_unavailable") >= 5
            assert (now.sync.state, now.wait and now.wait.last_error) == (SyncState.RUNNING, "quota_unavailable")
            await dead.aclose()
            s.servers = replace(s.servers, redis=redis)
            async with s.another_worker():
                assert (await s.ended(report)).sync.state is SyncState.COMPLETED


class TestSpentDay:
    async def test_of_backfills_delays_no_new_mail(self, stage: OpenStage) -> None:
        async with stage(messages=60, poll_seconds=1.0) as s:
            # Nine tenths are spent: the last one is for live mail.
            await begin_count(s.servers.redis, spent=73_000_000)
            report = await s.request(count=None)

            async def waits() -> bool:
                now = await s.report(report)
                return now.wait is not None and now.wait.reason is WaitReason.QUOTA_DAY

            await eventually(waits)
            new = await s.at_provider.deliver()
            # Those of a backfill come the next day.
            await s.until_stored(new)
            assert int(await s.fetchval("SELECT count(*) FROM messages")) < 60
            await eventually(waits)


class TestFailure:
    async def test_is_followed_by_a_pause_that_doubles_up_to_a_minute(self, stage: OpenStage) -> None:
        async with stage(messages=1) as s:
            await s.sync()
            lease = Lease(mailbox_id=(await s.mailbox()).mailbox_id, owner=uuid4(), epoch=1, hint_seq=1, attempts=1)
            turns = s.workers[0].worker._turns
            pauses = [turns._backoff(replace(lease, attempts=attempts)) for attempts in (1, 2, 3, 30)]
        assert pauses == [0.01, 0.02, 0.04, LONGEST_BACKOFF]


class TestStatus:
    async def test_follows_the_providers_answers(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            await s.sync(count=None)
            await s.pool.execute("UPDATE mailboxes SET status = $1", MailboxStatus.REAUTH_REQUIRED.value)
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_stored(new)
            await s.until_released()
            assert (await s.mailbox()).status is MailboxStatus.ACTIVE


class TestReport:
    async def test_shows_what_a_sync_waits_for(self, stage: OpenStage) -> None:
        # More than the burst of a mailbox.
        async with stage(messages=200, workers=0) as s:
            async with s.another_worker(WorkerOptions(window=600.0)):
                report = await s.request(count=None)

                async def waits() -> bool:
                    now = await s.report(report)
                    return now.wait is not None and now.wait.reason is WaitReason.QUOTA

                await eventually(waits)
            now = await s.report(report)
            assert now.wait is not None
            assert now.wait.until is not None
            assert (now.wait.until - now.sync.created_at).total_seconds() < 600
            assert now.wait.last_error == ""
            assert now.sync.progress_at is not None
            assert now.sync.progress_at >= now.sync.created_at

    async def test_of_an_ended_sync_shows_no_wait(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            report = await s.sync(count=None)
            assert report.wait is None
            assert report.sync.progress_at is not None


class TestWatch:
    async def test_is_made_before_the_end_of_the_first_sync(self, stage: OpenStage) -> None:
        async with stage(messages=60, push_topic="projects/p/topics/t") as s:
            await s.at_provider.fail({"method": "batch", "kind": "slow", "seconds": 0.5})
            await s.request(count=None)

            async def is_watched() -> bool:
                return bool(await s.fetchval("SELECT count(*) FROM watches WHERE expires_at IS NOT NULL"))

            await eventually(is_watched)
            assert int(await s.fetchval("SELECT count(*) FROM messages")) < 60
            await s.at_provider.fail()
