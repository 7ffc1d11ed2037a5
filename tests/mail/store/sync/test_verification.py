"""Verifications: their schedule and their results."""

import hashlib

import pytest

from services.mail.model import Listing, Sync, SyncState, Verification
from services.mail.store.connection import Connection
from services.mail.store.sync import listing_diff, sync_state, syncs, verification
from tests.support.mail.stored import row_of, rows_of, store

UNKNOWN = 10**15


async def cover(connection: Connection, mailbox_id: int, *, count: int | None = 10) -> None:
    """Cover the newest `count` messages, or all."""
    listing = Listing.ALL if count is None else Listing.NEWEST
    await sync_state.start_listing(connection, mailbox_id, listing, target=count)
    await sync_state.end_listing(connection, mailbox_id, covers=True)


async def request(connection: Connection, mailbox_id: int, *, hint: int = 1, trace: str | None = None) -> int | None:
    return await verification.request(connection, mailbox_id, hint_seq=hint, trace_parent=trace)


async def start(connection: Connection, mailbox_id: int) -> int:
    """Start a sync of the newest ten messages."""
    sync = await syncs.start(connection, mailbox_id, newest_count=10, hint_seq=1, trace_parent=None)
    return sync.sync_id


async def active(connection: Connection, mailbox_id: int) -> Sync:
    sync = await syncs.active(connection, mailbox_id)
    assert sync is not None
    return sync


async def result(connection: Connection, mailbox_id: int) -> Verification:
    found = (await active(connection, mailbox_id)).verification
    assert found is not None
    return found


async def seconds_until_due(connection: Connection, mailbox_id: int) -> float | None:
    seconds: float | None = await connection.fetchval(
        "SELECT extract(epoch FROM verify_at - now())::float8 FROM sync_states WHERE mailbox_id = $1", mailbox_id
    )
    return seconds


class TestRequest:
    @pytest.mark.parametrize("count", [10, None])
    async def test_starts_a_sync_of_the_coverage_without_a_listing(
        self, connection: Connection, mailbox_id: int, count: int | None
    ) -> None:
        await cover(connection, mailbox_id, count=count)
        sync_id = await request(connection, mailbox_id, hint=3, trace="trace")
        sync = await active(connection, mailbox_id)
        assert (sync.sync_id, sync.state, sync.newest_count) == (sync_id, SyncState.QUEUED, count)
        assert (sync.hint_seq, sync.listing_done) == (3, True)
        assert sync.verification == Verification(done=False, missing_count=0, extra_count=0, drift_count=0, digest="")
        origin = await syncs.origin(connection, mailbox_id)
        assert origin is not None
        assert origin.trace_parent == "trace"

    async def test_joins_the_active_sync(self, connection: Connection, mailbox_id: int) -> None:
        sync_id = await start(connection, mailbox_id)
        for hint, trace in ((2, "first"), (3, None)):
            assert await request(connection, mailbox_id, hint=hint, trace=trace) == sync_id
        sync = await active(connection, mailbox_id)
        assert (sync.newest_count, sync.hint_seq, sync.listing_done) == (10, 3, False)
        assert sync.verification is not None
        assert (await row_of(connection, "syncs", mailbox_id))["trace_parent"] == "first"

    async def test_does_not_repeat_a_verification_that_is_done(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        await request(connection, mailbox_id)
        await verification.set_done(connection, mailbox_id)
        await request(connection, mailbox_id)
        assert (await result(connection, mailbox_id)).done

    async def test_needs_a_coverage(self, connection: Connection, mailbox_id: int) -> None:
        assert await request(connection, mailbox_id) is None
        assert await request(connection, UNKNOWN) is None
        await start(connection, mailbox_id)
        await syncs.end(connection, mailbox_id, SyncState.CANCELLED)
        assert await request(connection, mailbox_id) is None
        assert await syncs.active_id(connection, mailbox_id) is None


class TestIsDue:
    async def test_needs_a_schedule_and_a_coverage(self, connection: Connection, mailbox_id: int) -> None:
        assert not await verification.is_due(connection, UNKNOWN)
        assert not await verification.is_due(connection, mailbox_id)
        await verification.plan_next(connection, mailbox_id, seconds=60, verified=False)
        await connection.execute("UPDATE sync_states SET verify_at = now()")
        assert not await verification.is_due(connection, mailbox_id)
        await cover(connection, mailbox_id)
        assert await verification.is_due(connection, mailbox_id)

    async def test_holds_for_a_mailbox_covered_as_a_whole(self, connection: Connection, mailbox_id: int) -> None:
        await cover(connection, mailbox_id, count=None)
        await connection.execute("UPDATE sync_states SET verify_at = now()")
        assert await verification.is_due(connection, mailbox_id)
        await verification.plan_next(connection, mailbox_id, seconds=60, verified=True)
        assert not await verification.is_due(connection, mailbox_id)


class TestPlanNext:
    async def test_keeps_an_earlier_plan(self, connection: Connection, mailbox_id: int) -> None:
        await verification.plan_next(connection, mailbox_id, seconds=1000, verified=False)
        await verification.plan_next(connection, mailbox_id, seconds=5000, verified=False)
        seconds = await seconds_until_due(connection, mailbox_id)
        assert seconds is not None
        assert 900 < seconds <= 1000

    async def test_begins_again_after_a_verification(self, connection: Connection, mailbox_id: int) -> None:
        await verification.plan_next(connection, mailbox_id, seconds=1000, verified=False)
        await verification.plan_next(connection, mailbox_id, seconds=5000, verified=True)
        seconds = await seconds_until_due(connection, mailbox_id)
        assert seconds is not None
        assert 4900 < seconds <= 5000

    @pytest.mark.parametrize("verified", [True, False])
    async def test_of_zero_seconds_means_never(
        self, connection: Connection, mailbox_id: int, *, verified: bool
    ) -> None:
        await verification.plan_next(connection, mailbox_id, seconds=1000, verified=False)
        for _ in range(2):
            await verification.plan_next(connection, mailbox_id, seconds=0, verified=verified)
            assert await seconds_until_due(connection, mailbox_id) is None

    async def test_writes_nothing_where_nothing_changes(self, connection: Connection, mailbox_id: int) -> None:
        await verification.plan_next(connection, mailbox_id, seconds=1000, verified=False)
        before = await connection.fetchval("SELECT xmin FROM sync_states")
        await verification.plan_next(connection, mailbox_id, seconds=1000, verified=False)
        assert await connection.fetchval("SELECT xmin FROM sync_states") == before


class TestBegin:
    async def test_lists_ids_from_the_top_with_zero_differences(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        await request(connection, mailbox_id)
        await verification.count(connection, mailbox_id, missing=1, extra=2, drift=3)
        await listing_diff.note(connection, mailbox_id, ["a"], round_=1, offset=0, label_id=None)
        await verification.begin(connection, mailbox_id)
        found = await result(connection, mailbox_id)
        assert (found.missing_count, found.extra_count, found.drift_count) == (0, 0, 0)
        state = await sync_state.load(connection, mailbox_id)
        assert (state.listing, state.listing_round, state.listing_target) == (Listing.VERIFY_IDS, 1, None)
        assert await rows_of(connection, mailbox_id, "listed_ids") == [[]]


class TestCount:
    async def test_adds_up(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        await request(connection, mailbox_id)
        await verification.count(connection, mailbox_id, missing=1, extra=2, drift=3)
        await verification.count(connection, mailbox_id, missing=10, extra=20, drift=30)
        await verification.count(connection, mailbox_id)
        found = await result(connection, mailbox_id)
        assert (found.missing_count, found.extra_count, found.drift_count) == (11, 22, 33)


class TestSetDone:
    async def test_keeps_the_sync_active(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        await request(connection, mailbox_id)
        await verification.set_done(connection, mailbox_id)
        assert (await result(connection, mailbox_id)).done


class TestDigest:
    @pytest.mark.parametrize("at_once", [1, 2, 10])
    async def test_is_computed_from_ids_and_sorted_labels(
        self, connection: Connection, mailbox_id: int, other_id: int, at_once: int
    ) -> None:
        await store(connection, mailbox_id, "m1", labels=("b", "Ж", "B"))
        await store(connection, other_id, "m1")
        await store(connection, mailbox_id, "m2")
        await store(connection, mailbox_id, "m3", labels=("INBOX",))
        expected = 0
        for line in ("m1 B,b,Ж", "m2 ", "m3 INBOX"):
            expected ^= int.from_bytes(hashlib.sha256(line.encode()).digest()[:16])
        value, last = 0, 0
        while True:
            part = await verification.part_of_digest(connection, mailbox_id, after=last, limit=at_once)
            if part.last is None:
                break
            value, last = value ^ part.value, part.last
        assert value == expected
        assert (part.value, last > 0) == (0, True)

    async def test_is_stored_in_the_active_sync(self, connection: Connection, mailbox_id: int) -> None:
        await start(connection, mailbox_id)
        await request(connection, mailbox_id)
        await verification.set_digest(connection, mailbox_id, "f" * 32)
        assert (await result(connection, mailbox_id)).digest == "f" * 32


class TestEveryFunction:
    async def test_leaves_ended_syncs_and_other_mailboxes_alone(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await start(connection, mailbox_id)
        await request(connection, mailbox_id)
        await verification.count(connection, mailbox_id, missing=1, extra=1, drift=1)
        await syncs.end(connection, mailbox_id, SyncState.COMPLETED)
        await cover(connection, other_id)
        await request(connection, other_id)
        await verification.count(connection, other_id, missing=1, extra=1, drift=1)
        await verification.plan_next(connection, other_id, seconds=1000, verified=False)
        ended = await rows_of(connection, mailbox_id, "syncs")
        others = await rows_of(connection, other_id, "syncs", "sync_states")
        await verification.begin(connection, mailbox_id)
        await verification.count(connection, mailbox_id, missing=1, extra=1, drift=1)
        await verification.set_done(connection, mailbox_id)
        await verification.set_digest(connection, mailbox_id, "f" * 32)
        await verification.plan_next(connection, mailbox_id, seconds=60, verified=True)
        assert await rows_of(connection, mailbox_id, "syncs") == ended
        await cover(connection, mailbox_id)
        await request(connection, mailbox_id, hint=5)
        assert await rows_of(connection, other_id, "syncs", "sync_states") == others
