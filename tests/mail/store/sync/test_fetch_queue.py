"""The fetch queue and its dead letters."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from services.mail.model import Lane, ListedId, Listing
from services.mail.store.connection import Connection, Pool
from services.mail.store.sync import fetch_queue, listing_diff, sync_state
from tests.support.mail.stored import rows_of, store

UNKNOWN = 10**15


def listed(*external_ids: str, thread_id: str | None = None) -> list[ListedId]:
    return [ListedId(external_id=external_id, thread_id=thread_id) for external_id in external_ids]


async def queued(connection: Connection, mailbox_id: int) -> list[tuple[str, Lane, int]]:
    """Return id, lane and ordinal of the queued messages, in the order of fetching."""
    rows = await connection.fetch(
        "SELECT external_id, lane, ordinal FROM fetch_queue WHERE mailbox_id = $1 ORDER BY lane, ordinal", mailbox_id
    )
    return [(row["external_id"], Lane(row["lane"]), row["ordinal"]) for row in rows]


async def next_ids(connection: Connection, mailbox_id: int, limit: int = 100) -> list[str]:
    return [item.external_id for item in await fetch_queue.next_batch(connection, mailbox_id, limit)]


async def bury(connection: Connection, mailbox_id: int, external_id: str, *, version: int = 0) -> None:
    """Make a message a dead letter."""
    await fetch_queue.queue_changed(connection, mailbox_id, {external_id: version}, threads={})
    await fetch_queue.postpone(connection, mailbox_id, {external_id: "r"}, attempts_limit=1, base_seconds=0)


async def letters(connection: Connection, mailbox_id: int) -> list[tuple[str, str, int]]:
    """Return id, reason and attempts of the dead letters."""
    rows = await connection.fetch(
        "SELECT external_id, reason, attempts FROM dead_letters WHERE mailbox_id = $1 ORDER BY external_id", mailbox_id
    )
    return [(row["external_id"], row["reason"], row["attempts"]) for row in rows]


class TestQueueListed:
    async def test_keeps_the_listings_order_from_the_offset(self, connection: Connection, mailbox_id: int) -> None:
        count = await fetch_queue.queue_listed(connection, mailbox_id, listed("b", "a"), offset=5)
        assert await queued(connection, mailbox_id) == [("b", Lane.BACKFILL, 6), ("a", Lane.BACKFILL, 7)]
        assert count == 2

    async def test_skips_stored_and_queued_messages(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "stored")
        await fetch_queue.queue_changed(connection, mailbox_id, {"live": 1}, threads={})
        page = listed("stored", "live", "new", "new")
        assert await fetch_queue.queue_listed(connection, mailbox_id, page, offset=0) == 1
        assert await queued(connection, mailbox_id) == [("live", Lane.LIVE, -1), ("new", Lane.BACKFILL, 3)]
        assert await fetch_queue.queue_listed(connection, mailbox_id, page, offset=0) == 0

    async def test_retries_dead_letters(self, connection: Connection, mailbox_id: int) -> None:
        await bury(connection, mailbox_id, "dead")
        assert await fetch_queue.queue_listed(connection, mailbox_id, listed("dead"), offset=0) == 1
        assert await letters(connection, mailbox_id) == []

    async def test_of_nothing_queues_nothing(self, connection: Connection, mailbox_id: int) -> None:
        assert await fetch_queue.queue_listed(connection, mailbox_id, [], offset=0) == 0

    async def test_refuses_an_unknown_mailbox(self, connection: Connection) -> None:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await fetch_queue.queue_listed(connection, UNKNOWN, listed("a"), offset=0)

    async def test_called_concurrently_counts_each_message_once(self, pool: Pool, mailbox_id: int) -> None:
        async def queue(page: Sequence[ListedId]) -> int:
            async with pool.acquire() as connection:
                return await fetch_queue.queue_listed(connection, mailbox_id, page, offset=0)

        page = listed(*(f"m{number}" for number in range(50)))
        counts = await asyncio.gather(*(queue(page) for _ in range(4)))
        assert sum(counts) == 50


class TestUnknown:
    async def test_keeps_only_messages_seen_nowhere_in_their_order(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await sync_state.start_listing(connection, mailbox_id, Listing.ALL, target=None)
        await store(connection, mailbox_id, "stored")
        await bury(connection, mailbox_id, "dead")
        await fetch_queue.queue_listed(connection, mailbox_id, listed("queued"), offset=0)
        await listing_diff.note_gone(connection, mailbox_id, ["gone"])
        page = listed("z", "stored", "dead", "a", "queued", "gone")
        assert await fetch_queue.unknown(connection, mailbox_id, page) == listed("z", "a")
        assert await fetch_queue.unknown(connection, mailbox_id, []) == []
        assert await fetch_queue.unknown(connection, UNKNOWN, page) == page


class TestQueueChanged:
    async def test_queues_the_newest_record_first(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_changed(connection, mailbox_id, {"a": 7, "b": 9, "c": 8}, threads={"a": "t"})
        assert await next_ids(connection, mailbox_id) == ["b", "c", "a"]
        [thread_id] = [
            item.thread_id
            for item in await fetch_queue.next_batch(connection, mailbox_id, 10)
            if item.external_id == "a"
        ]
        assert thread_id == "t"

    async def test_moves_a_message_from_the_backfill_to_the_live_lane(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a"), offset=0)
        await fetch_queue.queue_changed(connection, mailbox_id, {"a": 7}, threads={})
        assert await queued(connection, mailbox_id) == [("a", Lane.LIVE, -1)]

    async def test_never_lowers_the_wanted_version(self, connection: Connection, mailbox_id: int) -> None:
        for version in (7, 2**70, 8):
            await fetch_queue.queue_changed(connection, mailbox_id, {"a": version}, threads={})
        assert await connection.fetchval("SELECT wanted_version FROM fetch_queue") == 2**70

    async def test_makes_a_failed_message_due_again(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_changed(connection, mailbox_id, {"a": 1}, threads={})
        await fetch_queue.postpone(connection, mailbox_id, {"a": "r"}, attempts_limit=5, base_seconds=60)
        await fetch_queue.doubt(connection, mailbox_id, ["a"], again_seconds=60)
        assert await next_ids(connection, mailbox_id) == []
        await fetch_queue.queue_changed(connection, mailbox_id, {"a": 1}, threads={})
        [item] = await fetch_queue.next_batch(connection, mailbox_id, 1)
        assert not item.is_doubted
        assert await connection.fetchval("SELECT attempts FROM fetch_queue") == 0

    async def test_retries_dead_letters(self, connection: Connection, mailbox_id: int) -> None:
        await bury(connection, mailbox_id, "dead")
        await fetch_queue.queue_changed(connection, mailbox_id, {"dead": 2}, threads={})
        assert await letters(connection, mailbox_id) == []

    async def test_of_nothing_queues_nothing(self, connection: Connection) -> None:
        await fetch_queue.queue_changed(connection, UNKNOWN, {}, threads={})
        assert await connection.fetchval("SELECT count(*) FROM fetch_queue") == 0


class TestDropBackfill:
    async def test_keeps_the_live_lane(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("old"), offset=0)
        await fetch_queue.queue_changed(connection, mailbox_id, {"new": 1}, threads={})
        for _ in range(2):
            await fetch_queue.drop_backfill(connection, mailbox_id)
            assert await next_ids(connection, mailbox_id) == ["new"]


class TestRetryDeadLetters:
    async def test_queues_the_latest_first_in_the_live_lane(self, connection: Connection, mailbox_id: int) -> None:
        for external_id in ("first", "second"):
            await bury(connection, mailbox_id, external_id, version=7)
        await fetch_queue.retry_dead_letters(connection, mailbox_id)
        assert await queued(connection, mailbox_id) == [("second", Lane.LIVE, 1), ("first", Lane.LIVE, 2)]
        assert await letters(connection, mailbox_id) == []
        assert await connection.fetchval("SELECT min(wanted_version) FROM fetch_queue") == 7
        await fetch_queue.retry_dead_letters(connection, mailbox_id)
        assert len(await queued(connection, mailbox_id)) == 2


class TestQueuedIds:
    async def test_returns_only_queued_ones(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a", "b"), offset=0)
        assert await fetch_queue.queued_ids(connection, mailbox_id, ["b", "c"]) == {"b"}
        assert await fetch_queue.queued_ids(connection, mailbox_id, []) == set()
        assert await fetch_queue.queued_ids(connection, UNKNOWN, ["b"]) == set()


class TestNextBatch:
    async def test_takes_live_messages_before_the_backfill(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("old1", "old2"), offset=0)
        await fetch_queue.queue_changed(connection, mailbox_id, {"new": 1}, threads={})
        assert await next_ids(connection, mailbox_id) == ["new", "old1", "old2"]
        assert await next_ids(connection, mailbox_id, limit=2) == ["new", "old1"]
        assert await next_ids(connection, mailbox_id, limit=0) == []
        assert await next_ids(connection, UNKNOWN) == []

    async def test_has_the_due_siblings_of_a_thread_beyond_the_limit(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        page = [*listed("a", "b", "waits", thread_id="t"), *listed("c", thread_id="u")]
        await fetch_queue.queue_listed(connection, mailbox_id, page, offset=0)
        await fetch_queue.postpone(connection, mailbox_id, {"waits": "r"}, attempts_limit=9, base_seconds=60)
        [item] = await fetch_queue.next_batch(connection, mailbox_id, 1)
        assert sorted(item.siblings) == ["a", "b"]

    async def test_leaves_out_messages_that_wait(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a", "b"), offset=0)
        await fetch_queue.postpone(connection, mailbox_id, {"a": "r"}, attempts_limit=9, base_seconds=60)
        assert await next_ids(connection, mailbox_id) == ["b"]


class TestSecondsUntilNext:
    async def test_is_that_of_the_earliest_message(self, connection: Connection, mailbox_id: int) -> None:
        assert await fetch_queue.seconds_until_next(connection, mailbox_id) is None
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a", "b"), offset=0)
        assert await fetch_queue.seconds_until_next(connection, mailbox_id) == 0
        await fetch_queue.postpone(connection, mailbox_id, {"a": "r"}, attempts_limit=9, base_seconds=1000)
        await fetch_queue.postpone(connection, mailbox_id, {"b": "r"}, attempts_limit=9, base_seconds=500)
        seconds = await fetch_queue.seconds_until_next(connection, mailbox_id)
        assert seconds is not None
        assert 400 < seconds <= 500


class TestFetchSingly:
    async def test_clears_the_threads_of_these_messages(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a", "b", thread_id="t"), offset=0)
        await fetch_queue.fetch_singly(connection, mailbox_id, ["a", "unknown"])
        threads = {item.external_id: item.thread_id for item in await fetch_queue.next_batch(connection, mailbox_id, 9)}
        assert threads == {"a": None, "b": "t"}


class TestExpectCompletion:
    async def test_is_shown_with_the_message(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a", "b", "c"), offset=0)
        await fetch_queue.expect_completion(connection, mailbox_id, {"a": 40, "b": 20, "not queued": 1})
        await fetch_queue.expect_completion(connection, mailbox_id, {"b": 0})
        await fetch_queue.expect_completion(connection, mailbox_id, {})
        batch = await fetch_queue.next_batch(connection, mailbox_id, 9)
        assert {item.external_id: item.completion_units for item in batch} == {"a": 40, "b": 0, "c": 0}


class TestRemove:
    async def test_removes_queued_messages_and_dead_letters(self, connection: Connection, mailbox_id: int) -> None:
        await bury(connection, mailbox_id, "dead")
        await bury(connection, mailbox_id, "kept")
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a", "b"), offset=0)
        await fetch_queue.remove(connection, mailbox_id, ["a", "dead", "unknown"])
        assert await next_ids(connection, mailbox_id) == ["b"]
        assert await letters(connection, mailbox_id) == [("kept", "r", 1)]


class TestDoubt:
    async def test_asks_for_the_message_alone_after_a_pause(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a", thread_id="t"), offset=0)
        await fetch_queue.doubt(connection, mailbox_id, ["a"], again_seconds=60)
        seconds = await fetch_queue.seconds_until_next(connection, mailbox_id)
        assert seconds is not None
        assert 50 < seconds <= 60
        await fetch_queue.doubt(connection, mailbox_id, ["a"], again_seconds=0)
        [item] = await fetch_queue.next_batch(connection, mailbox_id, 1)
        assert (item.is_doubted, item.thread_id) == (True, None)


class TestFinish:
    async def test_takes_messages_in_the_wanted_version_off_the_queue(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await fetch_queue.queue_changed(connection, other_id, {"equal": 9}, threads={})
        await store(connection, other_id, "equal", version=9)
        await fetch_queue.queue_changed(connection, mailbox_id, {"equal": 5, "newer": 5, "odd": 5}, threads={})
        fetched = {"equal": 5, "newer": 2**70, "odd": None, "not queued": 1}
        assert await fetch_queue.finish(connection, mailbox_id, fetched, pauses=[60]) == []
        assert await queued(connection, mailbox_id) == []

    async def test_repeats_an_older_version_as_often_as_there_are_pauses(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await fetch_queue.queue_changed(connection, other_id, {"a": 3}, threads={})
        await fetch_queue.queue_changed(connection, mailbox_id, {"a": 5}, threads={})
        for pause in (60, 0):
            assert await fetch_queue.finish(connection, mailbox_id, {"a": 4}, pauses=[60, 0]) == []
            seconds = await fetch_queue.seconds_until_next(connection, mailbox_id)
            assert seconds is not None
            assert seconds <= pause
            assert (seconds > 0) == (pause > 0)
        assert await fetch_queue.finish(connection, mailbox_id, {"a": 4}, pauses=[60, 0]) == ["a"]
        assert await queued(connection, mailbox_id) == []

    async def test_repeats_a_version_older_than_the_stored_one(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a"), offset=0)
        await store(connection, mailbox_id, "a", version=5)
        await fetch_queue.doubt(connection, mailbox_id, ["a"], again_seconds=0)
        assert await fetch_queue.finish(connection, mailbox_id, {"a": 4}, pauses=[0]) == []
        [item] = await fetch_queue.next_batch(connection, mailbox_id, 9)
        # The provider has the message: only its version is old.
        assert not item.is_doubted


class TestPostpone:
    async def test_doubles_the_delay_and_then_makes_a_dead_letter(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await fetch_queue.queue_changed(connection, mailbox_id, {"a": 7}, threads={})
        for expected in (100, 200):
            reasons = {"a": "slow", "not queued": "x"}
            await fetch_queue.postpone(connection, mailbox_id, reasons, attempts_limit=3, base_seconds=100)
            seconds = await fetch_queue.seconds_until_next(connection, mailbox_id)
            assert seconds is not None
            assert expected - 50 < seconds <= expected
        await fetch_queue.postpone(connection, mailbox_id, {"a": "dead"}, attempts_limit=3, base_seconds=100)
        assert await queued(connection, mailbox_id) == []
        assert await letters(connection, mailbox_id) == [("a", "dead", 3)]
        assert await connection.fetchval("SELECT wanted_version FROM dead_letters") == 7

    async def test_of_nothing_changes_nothing(self, connection: Connection, mailbox_id: int) -> None:
        await fetch_queue.postpone(connection, mailbox_id, {}, attempts_limit=1, base_seconds=1)
        assert await letters(connection, mailbox_id) == []


class TestCapVersions:
    async def test_lowers_only_newer_ones(self, connection: Connection, mailbox_id: int) -> None:
        await bury(connection, mailbox_id, "dead", version=9)
        await fetch_queue.queue_changed(connection, mailbox_id, {"new": 9, "old": 3}, threads={})
        await fetch_queue.cap_versions(connection, mailbox_id, 5)
        rows = await connection.fetch("SELECT external_id, wanted_version FROM fetch_queue ORDER BY 1")
        assert [tuple(row) for row in rows] == [("new", 5), ("old", 3)]
        assert await connection.fetchval("SELECT wanted_version FROM dead_letters") == 5


class TestHasLive:
    async def test_ignores_the_backfill(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        await fetch_queue.queue_listed(connection, mailbox_id, listed("a"), offset=0)
        await fetch_queue.queue_changed(connection, other_id, {"b": 1}, threads={})
        assert not await fetch_queue.has_live(connection, mailbox_id)
        await fetch_queue.queue_changed(connection, mailbox_id, {"b": 1}, threads={})
        assert await fetch_queue.has_live(connection, mailbox_id)


class TestEveryFunction:
    async def test_leaves_other_mailboxes_alone(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        ids = ["a", "b", "c"]
        for each in (mailbox_id, other_id):
            await bury(connection, each, "dead", version=9)
            await fetch_queue.queue_listed(connection, each, listed("a", thread_id="t"), offset=0)
            await fetch_queue.queue_changed(connection, each, {"b": 9, "c": 9}, threads={})
        before = await rows_of(connection, other_id, "fetch_queue", "dead_letters")
        [first, *_] = await fetch_queue.next_batch(connection, mailbox_id, 9)
        assert first.siblings in ((), ("a",))
        await fetch_queue.cap_versions(connection, mailbox_id, 5)
        await fetch_queue.fetch_singly(connection, mailbox_id, ids)
        await fetch_queue.expect_completion(connection, mailbox_id, dict.fromkeys(ids, 1))
        await fetch_queue.doubt(connection, mailbox_id, ids, again_seconds=60)
        await fetch_queue.postpone(connection, mailbox_id, {"a": "r"}, attempts_limit=9, base_seconds=1)
        await fetch_queue.postpone(connection, mailbox_id, {"b": "r"}, attempts_limit=1, base_seconds=1)
        await fetch_queue.finish(connection, mailbox_id, {"c": 1}, pauses=[1])
        await fetch_queue.finish(connection, mailbox_id, {"c": 9}, pauses=[1])
        await fetch_queue.drop_backfill(connection, mailbox_id)
        await fetch_queue.retry_dead_letters(connection, mailbox_id)
        await fetch_queue.queue_changed(connection, mailbox_id, {"dead": 10}, threads={})
        await fetch_queue.remove(connection, mailbox_id, [*ids, "dead"])
        assert await queued(connection, mailbox_id) == []
        assert await rows_of(connection, other_id, "fetch_queue", "dead_letters") == before
