"""Cancelling a sync, and retrying its dead letters."""

from uuid import uuid4

import pytest

from services.kit.errors import AppError
from services.mail.model import Listing, SyncState
from tests.mail.conftest import OpenStage
from tests.support.mail.running_worker import BATCH_SIZE, WorkerOptions
from tests.support.mail.stage import Stage, id_of
from tests.support.mail.waiting import eventually


async def _gets(s: Stage) -> int:
    return sum([await s.at_provider.calls(f"gmail.{kind}.get") for kind in ("messages", "threads")])


class TestCancel:
    async def test_ends_the_sync_and_keeps_stored_messages(self, stage: OpenStage) -> None:
        async with stage(messages=300) as s:
            report = await s.request(count=None)
            await s.until_stored_some(20)
            cancelled = await s.cancel(report)
            assert cancelled.sync.state is SyncState.CANCELLED
            assert cancelled.sync.ended_at is not None
            await s.until_released()
            stored = await s.stored()
            assert 20 <= len(stored) < 300
            assert await s.report(report) == cancelled

    async def test_starts_no_call_after_the_current_batch(self, stage: OpenStage) -> None:
        async with stage(messages=300) as s:
            report = await s.request(count=None)
            await s.until_stored_some(20)
            await s.cancel(report)
            before = await _gets(s)
            await s.until_released()
            assert await _gets(s) <= before + BATCH_SIZE
            assert await s.fetchval("SELECT count(*) FROM fetch_queue") == 0

    async def test_does_not_cover_messages_that_were_not_fetched(self, stage: OpenStage) -> None:
        async with stage(messages=300) as s:
            report = await s.request(count=None)
            await s.until_listed()
            await s.cancel(report)
            await s.until_released()
            assert len(await s.stored()) < 300
            again = await s.sync(count=None)
            assert again.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()

    async def test_keeps_the_coverage_of_earlier_syncs(self, stage: OpenStage) -> None:
        async with stage(messages=200) as s:
            await s.sync(count=10)
            report = await s.request(count=None)
            await s.until_stored_some(15)
            await s.cancel(report)
            await s.until_released()
            assert await s.fetchval("SELECT covered_count FROM sync_states") == 10
            assert not await s.fetchval("SELECT covered_all FROM sync_states")

    async def test_ends_the_current_listing(self, stage: OpenStage) -> None:
        async with stage(messages=150, page_size=5) as s:
            await s.at_provider.fail({"method": "gmail.messages.list", "kind": "slow", "seconds": 0.2})
            report = await s.request(count=None)

            async def lists() -> bool:
                return 0 < (await s.report(report)).sync.listed_count < 150

            await eventually(lists)
            await s.cancel(report)
            pages = await s.at_provider.calls("gmail.messages.list")
            await s.until_released()
            assert await s.at_provider.calls("gmail.messages.list") <= pages + 1
            assert await s.fetchval("SELECT count(*) FROM sync_states WHERE listing IS NOT NULL") == 0
            await s.at_provider.fail()
            await s.sync(count=None)
            assert await s.stored() == await s.at_provider.truth()

    async def test_before_the_first_call_makes_no_call(self, stage: OpenStage) -> None:
        async with stage(messages=5, workers=0) as s:
            await s.cancel(await s.request())
            async with s.another_worker():
                await s.until_released()
            assert await s.at_provider.quota() == {"units": 0, "rejected": 0}
            await s.sync_with_worker(count=None)
            assert await s.stored() == await s.at_provider.truth()

    async def test_keeps_the_changes_that_history_queued(self, stage: OpenStage) -> None:
        async with stage(messages=200) as s:
            await s.sync(count=5)
            report = await s.request(count=None)
            await s.until_stored_some(10)
            new = await s.at_provider.deliver()
            await s.hint()
            await s.until_caught_up()
            await s.cancel(report)
            await s.until_idle()
            assert new in await s.stored()

    @pytest.mark.parametrize("listing", [Listing.RELIST, Listing.RELABEL])
    async def test_leaves_the_healing_of_a_lost_cursor(self, stage: OpenStage, listing: Listing) -> None:
        async with stage(messages=12, page_size=5, workers=0) as s:
            await s.sync_with_worker(count=None)
            deleted, relabelled = list(await s.at_provider.truth())[:2]
            await s.at_provider.delete(deleted)
            await s.at_provider.relabel(relabelled, add=("STARRED",))
            await s.at_provider.lose_history()
            await s.at_provider.fail({"method": "gmail.messages.list", "kind": "slow", "seconds": 0.2})
            report = await s.request(count=None)
            async with s.another_worker(WorkerOptions(page_size=5)):
                await s.until_listing(f"listing = '{listing.value}'")
                await s.cancel(report)
                assert await s.fetchval("SELECT listing IS NOT NULL FROM sync_states")
                await s.at_provider.fail()
                # A look that finds no history has paid for the labels, too.
                await s.mirrors(exactly_paid=False)
            assert deleted not in await s.stored()
            assert "STARRED" in (await s.stored())[relabelled]

    async def test_of_an_ended_sync_changes_nothing(self, stage: OpenStage) -> None:
        async with stage(messages=3) as s:
            report = await s.sync()
            assert await s.cancel(report) == report

    async def test_of_another_user_finds_no_sync(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            report = await s.request()
            with pytest.raises(AppError, match="sync_not_found"):
                await s.syncs.cancel(uuid4(), id_of(report))
            assert (await s.report(report)).sync.ended_at is None

    async def test_allows_the_next_sync(self, stage: OpenStage) -> None:
        async with stage(messages=200) as s:
            report = await s.request(count=None)
            await s.until_stored_some()
            await s.cancel(report)
            following = await s.sync(count=3)
            assert following.sync.sync_id != report.sync.sync_id
            assert following.sync.state is SyncState.COMPLETED
            assert set((await s.at_provider.visible())[:3]) <= set(await s.stored())


class TestRetry:
    async def test_stores_dead_letters(self, stage: OpenStage) -> None:
        async with stage(messages=30) as s:
            # Older than the messages that a sync of the newest ten lists again.
            poison = (await s.at_provider.visible())[20]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": poison, "kind": "error", "status": 500})
            failed = await s.sync(count=None)
            assert [letter.external_id for letter in failed.dead_letters] == [poison]
            await s.at_provider.sandbox.control("DELETE", "faults")
            report = await s.ended(await s.retry(failed))
            assert (report.sync.state, report.dead_letter_count) == (SyncState.COMPLETED, 0)
            assert await s.stored() == await s.at_provider.truth()

    async def test_of_messages_that_still_fail_makes_dead_letters_again(self, stage: OpenStage) -> None:
        async with stage(messages=5) as s:
            poison = (await s.at_provider.visible())[2]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": poison, "kind": "error", "status": 500})
            failed = await s.sync(count=None)
            report = await s.ended(await s.retry(failed))
            assert [letter.external_id for letter in report.dead_letters] == [poison]

    async def test_is_not_undone_by_a_cancel(self, stage: OpenStage) -> None:
        async with stage(messages=6, workers=0) as s:
            bad = (await s.at_provider.visible())[2]
            await s.at_provider.fail({"method": "gmail.messages.get", "path": bad, "kind": "error", "status": 500})
            report = await s.sync_with_worker(count=None)
            assert report.dead_letter_count == 1
            await s.at_provider.fail()
            await s.cancel(await s.retry(report))
            async with s.another_worker():
                await s.hint()
                await s.mirrors(exactly_paid=False)
            assert bad in await s.stored()

    async def test_repeated_joins_the_running_sync(self, stage: OpenStage) -> None:
        async with stage(messages=3, workers=0) as s:
            first = await s.request(count=3)
            again = [await s.retry(first) for _ in range(2)]
            assert {report.sync.sync_id for report in again} == {first.sync.sync_id}

    async def test_of_a_cancelled_sync_starts_it_again(self, stage: OpenStage) -> None:
        async with stage(messages=60) as s:
            report = await s.cancel(await s.request(count=None))
            ended = await s.ended(await s.retry(report))
            assert ended.sync.state is SyncState.COMPLETED
            assert await s.stored() == await s.at_provider.truth()

    async def test_of_another_user_finds_no_sync(self, stage: OpenStage) -> None:
        async with stage(workers=0) as s:
            with pytest.raises(AppError, match="sync_not_found"):
                await s.syncs.retry(uuid4(), id_of(await s.request()))
