"""Comparison of a listing with the stored messages."""

from collections.abc import Sequence

from services.mail.model import Lane, Listing
from services.mail.store.connection import Connection
from services.mail.store.sync import fetch_queue, listing_diff, sync_state
from services.mail.store.sync.listing_diff import IdRange
from tests.support.mail.stored import add_mailbox, rows_of, store

UNKNOWN = 10**15
ALL = IdRange("", "\U0010ffff")


async def begin(connection: Connection, mailbox_id: int, *, floor: int | None = None) -> None:
    """Start a listing at this cursor."""
    await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=floor)
    await sync_state.start_listing(connection, mailbox_id, Listing.VERIFY_IDS, target=None)


async def note(
    connection: Connection,
    mailbox_id: int,
    ids: Sequence[str],
    *,
    round_: int = 1,
    offset: int = 0,
    label: str | None = None,
) -> int:
    return await listing_diff.note(connection, mailbox_id, ids, round_=round_, offset=offset, label_id=label)


async def noted(connection: Connection, mailbox_id: int) -> list[tuple[int, str, int]]:
    """Return round, id and ordinal of the recorded ids."""
    rows = await connection.fetch(
        "SELECT round, external_id, ordinal FROM listed_ids WHERE mailbox_id = $1 ORDER BY round, ordinal", mailbox_id
    )
    return [(row["round"], row["external_id"], row["ordinal"]) for row in rows]


async def queued(connection: Connection, mailbox_id: int) -> list[str]:
    """Return the queued ids in the order of fetching; all of them must be in the live lane."""
    items = await fetch_queue.next_batch(connection, mailbox_id, 1000)
    assert {item.lane for item in items} <= {Lane.LIVE}
    return [item.external_id for item in items]


async def bury(connection: Connection, mailbox_id: int, external_id: str, *, version: int = 0) -> None:
    """Make a message a dead letter."""
    await fetch_queue.queue_changed(connection, mailbox_id, {external_id: version}, threads={})
    await fetch_queue.postpone(connection, mailbox_id, {external_id: "r"}, attempts_limit=1, base_seconds=0)


async def count_letters(connection: Connection, mailbox_id: int) -> int:
    return len((await rows_of(connection, mailbox_id, "dead_letters"))[0])


class TestNote:
    async def test_records_ids_in_order_and_counts_those_not_stored(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await store(connection, mailbox_id, "b")
        assert await note(connection, mailbox_id, ["c", "b", "a", "c"], offset=10) == 2
        assert await noted(connection, mailbox_id) == [(1, "c", 11), (1, "b", 12), (1, "a", 13)]

    async def test_repeated_counts_nothing_again(self, connection: Connection, mailbox_id: int) -> None:
        await note(connection, mailbox_id, ["a"])
        assert await note(connection, mailbox_id, ["a"], offset=5) == 0
        assert await noted(connection, mailbox_id) == [(1, "a", 1)]
        assert await note(connection, mailbox_id, ["a"], round_=2) == 1
        assert await note(connection, mailbox_id, []) == 0

    async def test_of_a_label_counts_messages_stored_without_it(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "with", labels=("L", "M"))
        await store(connection, mailbox_id, "without", "without too", labels=("M",))
        assert await note(connection, mailbox_id, ["with", "without", "without too", "not stored"], label="L") == 2


class TestNoteGone:
    async def test_records_messages_during_a_listing_only(self, connection: Connection, mailbox_id: int) -> None:
        await listing_diff.note_gone(connection, mailbox_id, ["a"])
        assert await noted(connection, mailbox_id) == []
        await begin(connection, mailbox_id)
        for _ in range(2):
            await listing_diff.note_gone(connection, mailbox_id, ["a"])
            assert await noted(connection, mailbox_id) == [(0, "a", 0)]
        await listing_diff.note_gone(connection, UNKNOWN, ["a"])


class TestForget:
    async def test_keeps_messages_that_were_gone(self, connection: Connection, mailbox_id: int) -> None:
        await begin(connection, mailbox_id)
        await note(connection, mailbox_id, ["a", "b"])
        await note(connection, mailbox_id, ["a"], round_=2)
        await listing_diff.note_gone(connection, mailbox_id, ["a"])
        await listing_diff.forget(connection, mailbox_id, ["a", "unknown"])
        assert await noted(connection, mailbox_id) == [(0, "a", 0), (1, "b", 2)]


class TestRanges:
    async def test_of_an_empty_mailbox_is_one(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        await store(connection, other_id, "a", "b")
        await note(connection, other_id, ["c", "d"])
        assert await listing_diff.ranges(connection, mailbox_id, size=1) == [ALL]
        assert len(await listing_diff.ranges(connection, other_id, size=1)) == 5
        assert await listing_diff.ranges(connection, UNKNOWN) == [ALL]

    async def test_cover_all_ids_in_bounded_parts(self, connection: Connection, mailbox_id: int) -> None:
        stored = [f"s{number:02}" for number in range(7)]
        seen = [f"{number:02}" for number in range(10)]
        await store(connection, mailbox_id, *stored)
        await note(connection, mailbox_id, seen)
        await note(connection, mailbox_id, seen[:3], round_=2)
        found = await listing_diff.ranges(connection, mailbox_id, size=3)
        assert (found[0].start, found[-1].end) == ("", "\U0010ffff")
        assert [each.end for each in found[:-1]] == [each.start for each in found[1:]]
        for ids in (stored, seen):
            assert max(sum(each.start <= id_ < each.end for id_ in ids) for each in found) <= 3


class TestDeepestStored:
    async def test_is_the_highest_ordinal_of_a_stored_message(self, connection: Connection, mailbox_id: int) -> None:
        assert await listing_diff.deepest_stored(connection, mailbox_id, ALL) == 0
        await note(connection, mailbox_id, ["a", "b", "c", "d"])
        assert await listing_diff.deepest_stored(connection, mailbox_id, ALL) == 0
        await store(connection, mailbox_id, "a", "c", "spam")
        await note(connection, mailbox_id, ["spam"], round_=2, offset=100)
        assert await listing_diff.deepest_stored(connection, mailbox_id, ALL) == 3
        assert await listing_diff.deepest_stored(connection, mailbox_id, IdRange("a", "c")) == 1


class TestQueueMissing:
    async def test_queues_listed_messages_that_are_not_stored(self, connection: Connection, mailbox_id: int) -> None:
        await store(connection, mailbox_id, "b")
        await note(connection, mailbox_id, ["c", "b", "a"])
        await note(connection, mailbox_id, ["spam"], round_=2)
        await bury(connection, mailbox_id, "a")
        assert await listing_diff.queue_missing(connection, mailbox_id, ALL, depth=None) == 2
        assert await queued(connection, mailbox_id) == ["c", "a"]
        assert await count_letters(connection, mailbox_id) == 0
        assert await listing_diff.queue_missing(connection, mailbox_id, ALL, depth=None) == 0

    async def test_stays_within_range_and_depth(self, connection: Connection, mailbox_id: int) -> None:
        await note(connection, mailbox_id, ["a", "b", "c", "d"])
        assert await listing_diff.queue_missing(connection, mailbox_id, IdRange("b", "d"), depth=None) == 2
        assert await queued(connection, mailbox_id) == ["b", "c"]
        assert await listing_diff.queue_missing(connection, mailbox_id, ALL, depth=1) == 1
        assert await queued(connection, mailbox_id) == ["a", "b", "c"]


class TestSuspectUnlisted:
    async def test_queues_stored_messages_and_dead_letters_in_neither_round(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await begin(connection, mailbox_id)
        await store(connection, mailbox_id, "first", "second", "gone")
        await bury(connection, mailbox_id, "dead")
        await note(connection, mailbox_id, ["first"])
        await note(connection, mailbox_id, ["second"], round_=2)
        await listing_diff.note_gone(connection, mailbox_id, ["gone"])
        assert await listing_diff.suspect_unlisted(connection, mailbox_id, ALL) == 2
        assert sorted(await queued(connection, mailbox_id)) == ["dead", "gone"]
        assert await count_letters(connection, mailbox_id) == 0
        assert await listing_diff.suspect_unlisted(connection, mailbox_id, ALL) == 0

    async def test_skips_messages_newer_than_the_listing(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await begin(connection, mailbox_id, floor=5)
        await begin(connection, other_id, floor=9)
        await store(connection, mailbox_id, "old", version=5)
        await store(connection, mailbox_id, "new", version=6)
        await bury(connection, mailbox_id, "new and dead", version=6)
        assert await listing_diff.suspect_unlisted(connection, mailbox_id, ALL) == 1
        assert await queued(connection, mailbox_id) == ["old"]

    async def test_stays_within_the_range(self, connection: Connection, mailbox_id: int) -> None:
        await begin(connection, mailbox_id)
        await store(connection, mailbox_id, "a", "b", "d")
        for external_id in ("A", "c", "d2"):
            await bury(connection, mailbox_id, external_id)
        assert await listing_diff.suspect_unlisted(connection, mailbox_id, IdRange("b", "d")) == 2
        assert sorted(await queued(connection, mailbox_id)) == ["b", "c"]


class TestSuspectMislabelled:
    async def test_queues_messages_that_differ_in_either_direction(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await begin(connection, mailbox_id)
        await store(connection, mailbox_id, "wrong", "right", labels=("L",))
        await store(connection, mailbox_id, "lacks", "other", labels=("M",))
        await note(connection, mailbox_id, ["right", "lacks", "not stored"], label="L")
        assert await listing_diff.suspect_mislabelled(connection, mailbox_id, "L", ALL) == 2
        assert sorted(await queued(connection, mailbox_id)) == ["lacks", "wrong"]
        assert await listing_diff.suspect_mislabelled(connection, mailbox_id, "L", ALL) == 0

    async def test_skips_messages_newer_than_the_listing(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await begin(connection, mailbox_id, floor=5)
        await begin(connection, other_id, floor=9)
        await store(connection, mailbox_id, "old", version=5, labels=("L",))
        await store(connection, mailbox_id, "new", version=6, labels=("L",))
        assert await listing_diff.suspect_mislabelled(connection, mailbox_id, "L", ALL) == 1
        assert await queued(connection, mailbox_id) == ["old"]

    async def test_stays_within_the_range(self, connection: Connection, mailbox_id: int) -> None:
        await begin(connection, mailbox_id)
        await store(connection, mailbox_id, "a", "b", "c", "d", labels=("L",))
        assert await listing_diff.suspect_mislabelled(connection, mailbox_id, "L", IdRange("b", "d")) == 2
        assert sorted(await queued(connection, mailbox_id)) == ["b", "c"]


class TestIsCarried:
    async def test_asks_for_this_label_in_this_mailbox(
        self, connection: Connection, mailbox_id: int, other_id: int
    ) -> None:
        await store(connection, mailbox_id, "a", labels=("M",))
        await store(connection, other_id, "a", labels=("L",))
        assert not await listing_diff.is_carried(connection, mailbox_id, "L")
        await store(connection, mailbox_id, "b", labels=("M", "L"))
        assert await listing_diff.is_carried(connection, mailbox_id, "L")


class TestEveryFunction:
    async def test_reads_and_writes_one_mailbox(self, connection: Connection, mailbox_id: int) -> None:
        other_id = (await add_mailbox(connection)).mailbox_id
        for each in (mailbox_id, other_id):
            await begin(connection, each)
        # The same ids in opposite states.
        await store(connection, mailbox_id, "stored")
        await store(connection, other_id, "listed", "theirs", labels=("L",))
        await note(connection, mailbox_id, ["listed"])
        await note(connection, other_id, ["stored", "other", "listed"])
        await bury(connection, other_id, "dead")
        others = await rows_of(connection, other_id, "fetch_queue", "dead_letters", "listed_ids")
        assert await note(connection, mailbox_id, ["stored"], round_=2) == 0
        assert await listing_diff.deepest_stored(connection, mailbox_id, ALL) == 0
        await listing_diff.note_gone(connection, mailbox_id, ["other"])
        await listing_diff.forget(connection, mailbox_id, ["stored", "other"])
        assert await listing_diff.queue_missing(connection, mailbox_id, ALL, depth=None) == 1
        assert await listing_diff.suspect_unlisted(connection, mailbox_id, ALL) == 1
        assert sorted(await queued(connection, mailbox_id)) == ["listed", "stored"]
        await fetch_queue.remove(connection, mailbox_id, ["listed", "stored"])
        assert await listing_diff.suspect_mislabelled(connection, mailbox_id, "L", ALL) == 0
        assert await rows_of(connection, other_id, "fetch_queue", "dead_letters", "listed_ids") == others
