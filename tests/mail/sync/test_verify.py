"""Verifying a copy against the provider, and repairing the differences."""

import asyncio
import hashlib
from collections.abc import Mapping

import pytest

from services.kit.errors import AppError
from services.mail.model import SyncReport, SyncState, Verification
from services.mail.store.control import leases, schedule
from services.mail.sync.turn_steps import run_turn
from tests.mail.conftest import OpenStage
from tests.support.mail.running_worker import QUICK_RETRIES
from tests.support.mail.scripted_history import ScriptedHistory
from tests.support.mail.stage import Stage
from tests.support.mail.turns import begin_turn
from tests.support.mail.waiting import eventually


def found(report: SyncReport) -> tuple[int, int, int]:
    """Return the counts of missing, extra and drifted messages."""
    verification = report.sync.verification
    assert verification is not None
    assert verification.done
    return verification.missing_count, verification.extra_count, verification.drift_count


def digest_of(truth: Mapping[str, frozenset[str]]) -> str:
    """Compute the digest as the contract describes it."""
    digest = 0
    for id_, labels in truth.items():
        line = f"{id_} {','.join(sorted(labels))}"
        digest ^= int.from_bytes(hashlib.sha256(line.encode()).digest()[:16])
    return f"{digest:032x}"


async def _lose(s: Stage, *external_ids: str) -> None:
    await s.pool.execute("DELETE FROM messages WHERE external_id = ANY($1::text[])", external_ids)


async def _invent(s: Stage, external_id: str) -> None:
    """Store a message that the provider never had."""
    await s.pool.execute(
        """
        INSERT INTO messages (mailbox_id, external_id, thread_id, version, received_at, to_addresses, cc_addresses,
            snippet, label_ids, has_attachments, size)
        SELECT mailbox_id, $1, thread_id, version, received_at, to_addresses, cc_addresses, snippet, label_ids,
            has_attachments, size
        FROM messages ORDER BY version LIMIT 1
        """,
        external_id,
    )


async def _mislabel(s: Stage, external_id: str) -> None:
    """Replace all labels of a stored message by a wrong one."""
    await s.pool.execute("UPDATE messages SET label_ids = '{STARRED}' WHERE external_id = $1", external_id)


async def _unstarred(s: Stage) -> list[str]:
    return [id_ for id_, labels in (await s.at_provider.truth()).items() if "STARRED" not in labels]


class TestOfAWholeMailbox:
    async def test_finds_no_difference_in_an_equal_copy(self, stage: OpenStage) -> None:
        async with stage(messages=40) as s:
            await s.at_provider.deliver(labels=["SPAM"])
            await s.sync(count=None)
            report = await s.verify()
            assert report.sync.state is SyncState.COMPLETED
            assert found(report) == (0, 0, 0)
            assert report.sync.stored_count == 0

    async def test_has_the_digest_of_the_provider(self, stage: OpenStage) -> None:
        async with stage(messages=25) as s:
            await s.sync(count=None)
            report = await s.verify()
            assert report.sync.verification == Verification(
                done=True,
                missing_count=0,
                extra_count=0,
                drift_count=0,
                digest=digest_of(await s.at_provider.truth()),
            )

    async def test_of_an_empty_one_has_the_digest_of_no_messages(self, stage: OpenStage) -> None:
        async with stage() as s:
            await s.sync(count=None)
            verification = (await s.verify()).sync.verification
            assert verification is not None
            assert verification.digest == "0" * 32

    async def test_fetches_missing_messages(self, stage: OpenStage) -> None:
        async with stage(messages=30, page_size=7) as s:
            await s.sync(count=None)
            await _lose(s, *list(await s.stored())[3:20:4])
            assert found(await s.verify()) == (5, 0, 0)
            assert await s.stored() == await s.at_provider.truth()

    async def test_removes_extra_messages(self, stage: OpenStage) -> None:
        async with stage(messages=20, page_size=7) as s:
            await s.sync(count=None)
            await _invent(s, "00000000deadbeef")
            assert found(await s.verify()) == (0, 1, 0)
            assert await s.stored() == await s.at_provider.truth()

    async def test_repairs_labels_with_one_get_per_message(self, stage: OpenStage) -> None:
        async with stage(messages=20) as s:
            await s.sync(count=None)
            for id_ in (await _unstarred(s))[:3]:
                await _mislabel(s, id_)
            assert found(await s.verify()) == (0, 0, 3)
            assert await s.stored() == await s.at_provider.truth()

    async def test_finds_all_kinds_of_differences_together(self, stage: OpenStage) -> None:
        async with stage(messages=30, page_size=5) as s:
            await s.sync(count=None)
            first, second, third, *_ = await _unstarred(s)
            await _lose(s, first)
            await _mislabel(s, second)
            await _mislabel(s, third)
            await _invent(s, "00000000deadbeef")
            report = await s.verify()
            assert found(report) == (1, 1, 2)
            assert await s.stored() == await s.at_provider.truth()
            assert report.sync.verification is not None
            assert report.sync.verification.digest == digest_of(await s.at_provider.truth())
            assert found(await s.verify()) == (0, 0, 0)

    async def test_counts_dead_letters_as_missing(self, stage: OpenStage) -> None:
        async with stage(messages=8) as s:
            poison = (await s.at_provider.visible())[2]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": poison, "kind": "error", "status": 500})
            await s.sync(count=None)
            await s.at_provider.sandbox.control("DELETE", "faults")
            report = await s.verify()
            assert found(report) == (1, 0, 0)
            assert report.dead_letter_count == 0
            assert await s.stored() == await s.at_provider.truth()


class TestOfTheNewest:
    async def test_finds_no_difference_in_an_equal_copy(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            for label in ("SPAM", "TRASH"):
                await s.at_provider.deliver(labels=[label])
            await s.sync(count=10)
            await s.at_provider.deliver(labels=["SPAM"])
            await s.sync(count=10)
            before = await s.stored()
            report = await s.verify()
            assert found(report) == (0, 0, 0)
            assert await s.stored() == before

    async def test_repairs_covered_messages(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            await s.sync(count=10)
            before = await s.stored()
            unstarred = [id_ for id_, labels in before.items() if "STARRED" not in labels]
            await _lose(s, unstarred[1])
            await _mislabel(s, unstarred[2])
            await _invent(s, "00000000deadbeef")
            assert found(await s.verify()) == (1, 1, 1)
            assert await s.stored() == before


class TestRequests:
    async def test_before_the_first_sync_are_refused(self, stage: OpenStage) -> None:
        async with stage(messages=3, workers=0) as s:
            with pytest.raises(AppError, match="nothing_to_verify"):
                await s.verify()

    async def test_during_a_verification_join_it(self, stage: OpenStage) -> None:
        async with stage(messages=3, workers=0) as s:
            await s.sync_with_worker(count=None)
            reports = [await s.syncs.verify(await s.mailbox()) for _ in range(2)]
            assert len({report.sync.sync_id for report in reports}) == 1

    async def test_join_the_active_sync(self, stage: OpenStage) -> None:
        async with stage(messages=30, workers=0) as s:
            asked = await s.request(count=None)
            joined = await s.syncs.verify(await s.mailbox())
            assert joined.sync.sync_id == asked.sync.sync_id
            async with s.another_worker():
                ended = await s.ended(asked)
            assert found(ended) == (0, 0, 0)
            assert await s.stored() == await s.at_provider.truth()

    async def test_can_be_cancelled(self, stage: OpenStage) -> None:
        async with stage(messages=20, workers=0) as s:
            await s.sync_with_worker(count=None)
            asked = await s.syncs.verify(await s.mailbox())
            cancelled = await s.cancel(asked)
            assert cancelled.sync.state is SyncState.CANCELLED
            async with s.another_worker():
                await s.until_idle()
            assert await s.fetchval("SELECT covered_all FROM sync_states")


class TestMeanwhile:
    async def test_changes_are_not_undone(self, stage: OpenStage) -> None:
        async with stage(messages=20, page_size=2) as s:
            await s.sync(count=None)
            asked = await s.syncs.verify(await s.mailbox())
            ids = await s.at_provider.visible()
            for number in range(10):
                await s.at_provider.deliver(subject=str(number))
                starred = "STARRED" in (await s.at_provider.truth())[ids[number]]
                change = {"remove": ("STARRED", "UNREAD")} if starred else {"add": ("STARRED", "UNREAD")}
                await s.at_provider.relabel(ids[number], **change)
                await s.hint()
            await s.at_provider.delete(ids[12])
            await s.hint()
            assert (await s.ended(asked)).sync.state is SyncState.COMPLETED
            await s.hint()
            await s.mirrors()

    async def test_a_lost_cursor_is_healed_and_everything_is_verified(self, stage: OpenStage) -> None:
        async with stage(messages=20, page_size=4) as s:
            await s.sync(count=None)
            asked = await s.syncs.verify(await s.mailbox())
            await s.at_provider.deliver_many(3)
            await s.at_provider.lose_history()
            await s.hint()
            ended = await s.ended(asked)
            assert ended.sync.verification is not None
            assert ended.sync.verification.done
            await s.mirrors()

    async def test_a_deleted_label_is_skipped(self, stage: OpenStage) -> None:
        async with stage(messages=6) as s:
            label = await s.at_provider.create_label("Later")
            await s.at_provider.relabel((await s.at_provider.visible())[0], add=(label,))
            await s.sync(count=None)
            await s.at_provider.fail(
                {
                    "method": "gmail.messages.list",
                    "kind": "error",
                    "status": 404,
                    "reason": "notFound",
                    "after": 1,
                    "count": 1,
                }
            )
            report = await s.verify()
            assert report.sync.state is SyncState.COMPLETED
            assert found(report) == (0, 0, 0)

    async def test_a_worker_may_die(self, stage: OpenStage) -> None:
        async with stage(messages=60, workers=0, lease_seconds=1.0) as s:
            await s.sync_with_worker(count=None)
            await _lose(s, *list(await s.stored())[:40])
            asked = await s.syncs.verify(await s.mailbox())
            async with s.another_worker() as worker:
                await s.until_stored_some(25)
                await worker.crash()
            async with s.another_worker():
                ended = await s.ended(asked)
            assert found(ended) == (40, 0, 0)
            assert await s.stored() == await s.at_provider.truth()


class TestByItself:
    async def test_a_mailbox_is_verified_and_healed(self, stage: OpenStage) -> None:
        async with stage(messages=10, poll_seconds=0.2, verify_seconds=0.5) as s:
            await s.sync(count=None)
            lost = list(await s.stored())[4]
            await _lose(s, lost)
            await s.until_stored(lost)

            async def is_reported() -> bool:
                return bool(await s.fetchval("SELECT EXISTS (SELECT FROM syncs WHERE missing_count = 1)"))

            await eventually(is_reported)

    async def test_a_mailbox_is_not_verified_before_its_time(self, stage: OpenStage) -> None:
        async with stage(messages=3, verify_seconds=3600.0) as s:
            await s.sync(count=None)
            await s.hint()
            await s.until_idle()
            await s.until_released()
            assert await s.fetchval("SELECT count(*) FROM syncs") == 1
            assert await s.fetchval("SELECT verify_at > now() + interval '59 minutes' FROM sync_states")


class TestLargeMailbox:
    async def test_is_digested_while_hints_are_recorded_and_the_lease_is_renewed(self, stage: OpenStage) -> None:
        """Reading it takes many seconds; here the messages are locked, which takes as long as the test likes."""
        async with stage(messages=2, workers=0) as s:
            await s.sync_with_worker(count=None)
            await s.until_released()
            await s.syncs.verify(await s.mailbox())
            await s.pool.execute("UPDATE syncs SET state = 'running', verification = 'done' WHERE ended_at IS NULL")
            await s.pool.execute("UPDATE sync_states SET caught_up_hint = 10, caught_up_at = now()")
            turn = await begin_turn(s, ScriptedHistory())
            async with s.pool.acquire() as connection, connection.transaction():
                await connection.execute("LOCK messages")
                running = asyncio.create_task(run_turn(turn, poll_seconds=600, verify_seconds=0, retries=QUICK_RETRIES))

                async def is_reading() -> bool:
                    return bool(await s.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"))

                await eventually(is_reading)
                async with s.pool.acquire() as other:
                    assert await asyncio.wait_for(leases.renew(other, turn.lease, lease_seconds=60), 30)
                    await asyncio.wait_for(schedule.trigger(other, turn.mailbox_id), 30)
            await running
