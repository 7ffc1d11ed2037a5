"""Requested syncs: at most one is active per mailbox."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from services.mail.model import Mailbox, SyncState
from services.mail.store.connection import Connection, Pool
from services.mail.store.sync import fetch_queue, syncs
from tests.support.mail.stored import rows_of

UNKNOWN = 10**15


async def start(
    connection: Connection, mailbox_id: int, *, count: int | None = 10, hint: int = 1, trace: str | None = None
) -> int:
    sync = await syncs.start(connection, mailbox_id, newest_count=count, hint_seq=hint, trace_parent=trace)
    return sync.sync_id


async def newest_count(connection: Connection, mailbox_id: int) -> int | None:
    sync = await syncs.active(connection, mailbox_id)
    assert sync is not None
    return sync.newest_count


async def is_listed(connection: Connection, mailbox_id: int) -> bool:
    sync = await syncs.active(connection, mailbox_id)
    assert sync is not None
    return sync.listing_done


class TestStart:
    async def test_queues_a_sync(self, connection: Connection, mailbox_id: int) -> None:
        sync = await syncs.start(connection, mailbox_id, newest_count=10, hint_seq=3, trace_parent=None)
        assert (sync.mailbox_id, sync.state, sync.newest_count) == (mailbox_id, SyncState.QUEUED, 10)
        assert (sync.hint_seq, sync.listing_done, sync.error) == (3, False, "")
        assert (sync.listed_count, sync.stored_count, sync.units_spent) == (0, 0, 0)
        assert (sync.verification, sync.progress_at, sync.ended_at) == (None, None, None)

    @pytest.mark.parametrize(
        ("first", "second", "wanted"), [(10, 20, 20), (20, 10, 20), (10, None, None), (None, 10, None)]
    )
    async def test_widens_the_active_one(
        self, connection: Connection, mailbox_id: int, first: int | None, second: int | None, wanted: int | None
    ) -> None:
        sync_id = await start(connection, mailbox_id, count=first)
        widened = await syncs.start(connection, mailbox_id, newest_count=second, hint_seq=2, trace_parent=None)
        assert (widened.sync_id, widened.newest_count, widened.hint_seq) == (sync_id, wanted, 2)

    @pytest.mark.parametrize(
        ("first", "second", "done"),
        [(10, 10, True), (20, 10, True), (10, 20, False), (10, None, False), (None, 10, True), (None, None, True)],
    )
    async def test_lists_again_only_for_more(
        self, connection: Connection, mailbox_id: int, first: int | None, second: int | None, *, done: bool
    ) -> None:
        await start(connection, mailbox_id, count=first)
        await syncs.set_listing_done(connection, mailbox_id, covered=None)
        await start(connection, mailbox_id, count=second)
        assert await is_listed(connection, mailbox_id) is done

    async def test_makes_a_new_one_after_the_end(self, connection: Connection, mailbox_id: int) -> None:
        ended = await start(connection, mailbox_id)
        await syncs.end(connection, mailbox_id, SyncState.COMPLETED)
        assert await start(connection, mailbox_id, count=5) != ended
        assert await newest_count(connection, mailbox_id) == 5

    async def test_called_concurrently_makes_one_sync_for_the_widest_request(self, pool: Pool, mailbox_id: int) -> None:
        async def request(count: int) -> int:
            async with pool.acquire() as connection:
                return await start(connection, mailbox_id, count=count)

        assert len(set(await asyncio.gather(*(request(count) for count in (3, 9, 1, 7))))) == 1
        async with pool.acquire() as connection:
            assert await newest_count(connection, mailbox_id) == 9

    async def test_refuses_an_unknown_mailbox(self, connection: Connection) -> None:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await start(connection, UNKNOWN)


class TestActive:
    async def test_is_the_sync_until_its_end(self, connection: Connection, mailbox: Mailbox) -> None:
        mailbox_id = mailbox.mailbox_id
        assert await syncs.active(connection, mailbox_id) is None
        assert await syncs.active_id(connection, mailbox_id) is None
        sync_id = await start(connection, mailbox_id)
        found = await syncs.active(connection, mailbox_id)
        assert found is not None
        assert found.sync_id == await syncs.active_id(connection, mailbox_id) == sync_id
        assert await syncs.is_active(connection, mailbox.user_id, mailbox_id, sync_id)
        await syncs.end(connection, mailbox_id, SyncState.FAILED, error="e")
        assert await syncs.active(connection, mailbox_id) is None
        assert await syncs.active_id(connection, mailbox_id) is None
        assert not await syncs.is_active(connection, mailbox.user_id, mailbox_id, sync_id)

    async def test_belongs_to_its_user_and_mailbox(
        self, connection: Connection, mailbox: Mailbox, other_id: int
    ) -> None:
        sync_id = await start(connection, mailbox.mailbox_id, trace="trace")
        assert await syncs.active(connection, other_id) is None
        assert await syncs.active_id(connection, other_id) is None
        assert await syncs.origin(connection, other_id) is None
        assert not await syncs.is_active(connection, uuid4(), mailbox.mailbox_id, sync_id)
        assert not await syncs.is_active(connection, mailbox.user_id, other_id, sync_id)
        assert not await syncs.is_active(connection, mailbox.user_id, mailbox.mailbox_id, sync_id + 1)


class TestOrigin:
    async def test_is_the_latest_traced_request(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        assert await syncs.origin(connection, mailbox_id) is None
        for trace in ("first", "second", None):
            await start(connection, mailbox_id, trace=trace)
        await connection.execute("UPDATE syncs SET created_at = now() - interval '1 hour'")
        found = await syncs.origin(connection, mailbox_id)
        assert found is not None
        assert found.trace_parent == "second"
        assert found.age == pytest.approx(3600, abs=60)
        await syncs.end(connection, mailbox_id, SyncState.COMPLETED)
        assert await syncs.origin(connection, mailbox_id) is None


class TestReport:
    async def test_counts_pending_messages_and_the_latest_dead_letters(
        self, connection: Connection, mailbox: Mailbox
    ) -> None:
        mailbox_id = mailbox.mailbox_id
        sync_id = await start(connection, mailbox_id)
        dead = {f"m{number:03}": 0 for number in range(101)}
        await fetch_queue.queue_changed(connection, mailbox_id, dead, threads={})
        for _ in range(2):
            reasons = dict.fromkeys(dead, "r")
            await fetch_queue.postpone(connection, mailbox_id, reasons, attempts_limit=2, base_seconds=0)
        await connection.execute(
            "UPDATE dead_letters SET died_at = now() - interval '1 day' WHERE external_id = 'm050'"
        )
        await fetch_queue.queue_changed(connection, mailbox_id, {"a": 1, "b": 1}, threads={})
        report = await syncs.report(connection, mailbox.user_id, mailbox_id, sync_id)
        assert report is not None
        assert (report.sync.sync_id, report.mailbox) == (sync_id, mailbox_of(mailbox))
        assert (report.pending_count, report.dead_letter_count) == (2, 101)
        assert {letter.external_id for letter in report.dead_letters} == dead.keys() - {"m050"}
        assert {(letter.reason, letter.attempts) for letter in report.dead_letters} == {("r", 2)}

    async def test_of_an_ended_sync_has_nothing_pending(self, connection: Connection, mailbox: Mailbox) -> None:
        sync_id = await start(connection, mailbox.mailbox_id)
        await syncs.end(connection, mailbox.mailbox_id, SyncState.CANCELLED, error="e")
        await fetch_queue.queue_changed(connection, mailbox.mailbox_id, {"a": 1}, threads={})
        report = await syncs.report(connection, mailbox.user_id, mailbox.mailbox_id, sync_id)
        assert report is not None
        assert (report.pending_count, report.sync.state, report.sync.error) == (0, SyncState.CANCELLED, "e")

    async def test_is_shown_to_its_user_only(self, connection: Connection, mailbox: Mailbox, other_id: int) -> None:
        sync_id = await start(connection, mailbox.mailbox_id)
        assert await syncs.report(connection, uuid4(), mailbox.mailbox_id, sync_id) is None
        assert await syncs.report(connection, mailbox.user_id, other_id, sync_id) is None
        assert await syncs.report(connection, mailbox.user_id, mailbox.mailbox_id, sync_id + 1) is None


def mailbox_of(mailbox: Mailbox) -> Mailbox:
    """Return the mailbox without its labels."""
    return Mailbox(
        mailbox_id=mailbox.mailbox_id,
        account_id=mailbox.account_id,
        user_id=mailbox.user_id,
        provider=mailbox.provider,
        email=mailbox.email,
        status=mailbox.status,
        limits_identity=mailbox.limits_identity,
    )


class TestProgress:
    async def test_begins_when_a_worker_starts(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        await syncs.set_running(connection, mailbox_id)
        sync = await syncs.active(connection, mailbox_id)
        assert sync is not None
        assert sync.state is SyncState.RUNNING
        assert sync.progress_at is not None
        await syncs.set_running(connection, mailbox_id)
        again = await syncs.active(connection, mailbox_id)
        assert again is not None
        assert again.progress_at == sync.progress_at

    async def test_adds_up(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        await syncs.count(connection, mailbox_id, listed=5, stored=2, units=7)
        await syncs.count(connection, mailbox_id, listed=1, stored=1, units=1)
        sync = await syncs.active(connection, mailbox_id)
        assert sync is not None
        assert (sync.listed_count, sync.stored_count, sync.units_spent) == (6, 3, 8)
        await syncs.restart_count(connection, mailbox_id)
        sync = await syncs.active(connection, mailbox_id)
        assert sync is not None
        assert (sync.listed_count, sync.stored_count, sync.units_spent) == (0, 3, 8)

    @pytest.mark.parametrize(("counts", "moves"), [({"listed": 1}, True), ({"stored": 1}, True), ({"units": 1}, False)])
    async def test_is_made_by_messages_and_not_by_units(
        self, connection: Connection, mailbox_id: int, counts: dict[str, int], *, moves: bool
    ) -> None:
        await start(connection, mailbox_id)
        await syncs.count(connection, mailbox_id, **counts)
        sync = await syncs.active(connection, mailbox_id)
        assert sync is not None
        assert (sync.progress_at is not None) is moves


class TestSetListingDone:
    @pytest.mark.parametrize(
        ("count", "covered", "done"),
        [(10, 10, True), (10, 9, False), (10, None, True), (None, 10, False), (None, None, True)],
    )
    async def test_holds_if_the_request_is_covered(
        self, connection: Connection, mailbox_id: int, count: int | None, covered: int | None, *, done: bool
    ) -> None:
        await start(connection, mailbox_id, count=count)
        await syncs.set_listing_done(connection, mailbox_id, covered=covered)
        assert await is_listed(connection, mailbox_id) is done


class TestEnd:
    async def test_ends_a_sync_once(self, connection: Connection, mailbox: Mailbox) -> None:
        sync_id = await start(connection, mailbox.mailbox_id)
        await syncs.end(connection, mailbox.mailbox_id, SyncState.FAILED, error="reauth_required")
        await syncs.end(connection, mailbox.mailbox_id, SyncState.COMPLETED)
        report = await syncs.report(connection, mailbox.user_id, mailbox.mailbox_id, sync_id)
        assert report is not None
        assert (report.sync.state, report.sync.error) == (SyncState.FAILED, "reauth_required")
        assert report.sync.ended_at is not None

    async def test_leaves_an_ended_sync_as_it_is(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        await syncs.count(connection, mailbox_id, listed=1)
        await syncs.end(connection, mailbox_id, SyncState.COMPLETED)
        before = await rows_of(connection, mailbox_id, "syncs")
        await syncs.set_running(connection, mailbox_id)
        await syncs.count(connection, mailbox_id, listed=1, stored=1, units=1)
        await syncs.restart_count(connection, mailbox_id)
        await syncs.set_listing_done(connection, mailbox_id, covered=None)
        assert await rows_of(connection, mailbox_id, "syncs") == before


class TestEveryFunction:
    async def test_leaves_other_mailboxes_alone(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        for each in (mailbox_id, other_id):
            await start(connection, each)
        await syncs.count(connection, other_id, listed=1)
        before = await rows_of(connection, other_id, "syncs")
        await start(connection, mailbox_id, count=None, hint=9)
        await syncs.set_running(connection, mailbox_id)
        await syncs.count(connection, mailbox_id, listed=1, stored=1, units=1)
        await syncs.restart_count(connection, mailbox_id)
        await syncs.set_listing_done(connection, mailbox_id, covered=None)
        await syncs.end(connection, mailbox_id, SyncState.COMPLETED)
        assert await rows_of(connection, other_id, "syncs") == before
