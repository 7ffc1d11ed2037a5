"""The progress of a mailbox's copy: cursor, coverage and the current listing."""

import asyncio

import pytest

from services.mail.model import CursorLoss, Listing, PageTrail, SyncProgress
from services.mail.store.connection import Connection, Pool
from services.mail.store.sync import listing_diff, sync_state
from tests.support.mail.stored import add_mailbox, row_of, rows_of

UNKNOWN = 10**15
TRAIL = PageTrail(pages=3, digests=(7, 5, -7))


async def note(connection: Connection, mailbox_id: int, *external_ids: str) -> None:
    """Record ids of the current listing."""
    await listing_diff.note(connection, mailbox_id, external_ids, round_=1, offset=0, label_id=None)


async def count_noted(connection: Connection, mailbox_id: int) -> int:
    return len((await rows_of(connection, mailbox_id, "listed_ids"))[0])


async def covered(connection: Connection, mailbox_id: int) -> tuple[int, bool]:
    state = await sync_state.load(connection, mailbox_id)
    return state.covered_count, state.covered_all


async def list_and_end(
    connection: Connection, mailbox_id: int, listing: Listing, *, target: int | None = None, covers: bool = True
) -> None:
    await sync_state.start_listing(connection, mailbox_id, listing, target=target)
    await sync_state.end_listing(connection, mailbox_id, covers=covers)


async def listing_at_page_two(connection: Connection, mailbox_id: int, listing: Listing) -> SyncProgress:
    """Start a listing and record its first page."""
    await sync_state.start_listing(connection, mailbox_id, listing, target=None)
    await note(connection, mailbox_id, "a", "b")
    await sync_state.record_page(connection, mailbox_id, listed=2, found=1, next_page_token="p2", trail=TRAIL)
    return await sync_state.load(connection, mailbox_id)


class TestEnsure:
    async def test_creates_an_empty_state(self, connection: Connection, mailbox_id: int) -> None:
        state = await sync_state.load(connection, mailbox_id)
        assert (state.cursor, state.caught_up_hint, state.caught_up_ago) == (None, 0, None)
        assert (state.covered_count, state.covered_all, state.listing) == (0, False, None)
        assert (state.listing_ended, state.listable_in, state.caught_up_since) == (False, None, False)

    async def test_keeps_an_existing_state(self, connection: Connection, mailbox_id: int) -> None:
        await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=7)
        await sync_state.ensure(connection, mailbox_id)
        assert (await sync_state.load(connection, mailbox_id)).cursor == 7


class TestMoveCursor:
    async def test_succeeds_for_one_of_many_concurrent_readers(self, pool: Pool, mailbox_id: int) -> None:
        async def move(cursor: int) -> bool:
            async with pool.acquire() as connection:
                return await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=cursor)

        moved = await asyncio.gather(*(move(cursor) for cursor in range(8)))
        assert sum(moved) == 1
        async with pool.acquire() as connection:
            assert (await sync_state.load(connection, mailbox_id)).cursor == moved.index(True)

    async def test_returns_to_none(self, connection: Connection, mailbox_id: int) -> None:
        assert await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=7)
        assert await sync_state.move_cursor(connection, mailbox_id, previous=7, cursor=None)
        assert (await sync_state.load(connection, mailbox_id)).cursor is None

    async def test_keeps_the_hint_between_pages(self, connection: Connection, mailbox_id: int) -> None:
        await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=7, caught_up_hint=3)
        state = await sync_state.load(connection, mailbox_id)
        assert state.caught_up_hint == 3
        assert state.caught_up_ago is not None
        await connection.execute("UPDATE sync_states SET caught_up_at = now() - interval '1 hour'")
        await sync_state.move_cursor(connection, mailbox_id, previous=7, cursor=8)
        state = await sync_state.load(connection, mailbox_id)
        assert state.caught_up_hint == 3
        assert state.caught_up_ago == pytest.approx(3600, abs=60)

    async def test_of_an_unknown_mailbox_fails(self, connection: Connection) -> None:
        assert not await sync_state.move_cursor(connection, UNKNOWN, previous=None, cursor=7)


class TestSetCursorLoss:
    async def test_lasts_until_the_cursor_moves_or_it_is_cleared(self, connection: Connection, mailbox_id: int) -> None:
        assert (await sync_state.load(connection, mailbox_id)).cursor_loss is None
        for loss in (*CursorLoss, None):
            await sync_state.set_cursor_loss(connection, mailbox_id, loss)
            assert (await sync_state.load(connection, mailbox_id)).cursor_loss is loss
        for loss in CursorLoss:
            await sync_state.set_cursor_loss(connection, mailbox_id, loss)
            assert not await sync_state.move_cursor(connection, mailbox_id, previous=9, cursor=1)
            assert (await sync_state.load(connection, mailbox_id)).cursor_loss is loss
            assert await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=None)
            assert (await sync_state.load(connection, mailbox_id)).cursor_loss is None


class TestExpectLag:
    async def test_holds_for_these_seconds_and_survives_a_new_listing(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await sync_state.expect_lag(connection, mailbox_id, seconds=100)
        await sync_state.start_listing(connection, mailbox_id, Listing.ALL, target=None)
        listable_in = (await sync_state.load(connection, mailbox_id)).listable_in
        assert listable_in is not None
        assert 50 < listable_in <= 100

    async def test_ends_with_the_first_listing_after_it(self, connection: Connection, mailbox_id: int) -> None:
        await sync_state.expect_lag(connection, mailbox_id, seconds=0)
        listable_in = (await sync_state.load(connection, mailbox_id)).listable_in
        assert listable_in is not None
        assert listable_in <= 0
        await sync_state.start_listing(connection, mailbox_id, Listing.ALL, target=None)
        assert (await sync_state.load(connection, mailbox_id)).listable_in is None


class TestStartListing:
    async def test_begins_at_the_top_of_the_first_pass(self, connection: Connection, mailbox_id: int) -> None:
        await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=7)
        await listing_at_page_two(connection, mailbox_id, Listing.ALL)
        await sync_state.begin_second_round(connection, mailbox_id)
        await sync_state.begin_label(connection, mailbox_id, "L", listing=Listing.RELABEL)
        await sync_state.begin_pass(connection, mailbox_id)
        await sync_state.disturb_listing(connection, mailbox_id)
        await note(connection, mailbox_id, "a")
        await sync_state.start_listing(connection, mailbox_id, Listing.NEWEST, target=9)
        state = await sync_state.load(connection, mailbox_id)
        assert (state.listing, state.listing_target, state.listing_round) == (Listing.NEWEST, 9, 1)
        assert (state.listing_label, state.listing_page_token, state.listing_pass) == (None, None, 1)
        assert (state.listed_count, state.listing_found, state.listing_disturbed) == (0, 0, False)
        assert await count_noted(connection, mailbox_id) == 0
        assert (await row_of(connection, "sync_states", mailbox_id))["listing_floor"] == 7


class TestStillLists:
    async def test_holds_until_the_next_page(self, connection: Connection, mailbox_id: int) -> None:
        state = await listing_at_page_two(connection, mailbox_id, Listing.ALL)
        assert await sync_state.still_lists(connection, mailbox_id, state)
        await sync_state.record_page(connection, mailbox_id, listed=1, found=0, next_page_token="p3", trail=TRAIL)
        assert not await sync_state.still_lists(connection, mailbox_id, state)

    async def test_is_asked_of_one_mailbox(self, connection: Connection, mailbox_id: int, other_id: int) -> None:
        state = await listing_at_page_two(connection, mailbox_id, Listing.ALL)
        other = await listing_at_page_two(connection, other_id, Listing.RELIST)
        assert not await sync_state.still_lists(connection, mailbox_id, other)
        assert await sync_state.still_lists(connection, other_id, other)
        assert not await sync_state.still_lists(connection, other_id, state)

    async def test_fails_for_any_other_listing(self, connection: Connection, mailbox_id: int) -> None:
        await sync_state.start_listing(connection, mailbox_id, Listing.VERIFY_IDS, target=None)
        state = await sync_state.load(connection, mailbox_id)
        await sync_state.begin_pass(connection, mailbox_id)
        assert not await sync_state.still_lists(connection, mailbox_id, state)
        await sync_state.begin_second_round(connection, mailbox_id)
        assert not await sync_state.still_lists(connection, mailbox_id, state)
        await sync_state.begin_label(connection, mailbox_id, "L", listing=Listing.VERIFY_IDS)
        assert not await sync_state.still_lists(connection, mailbox_id, state)
        await sync_state.start_listing(connection, mailbox_id, Listing.ALL, target=None)
        assert not await sync_state.still_lists(connection, mailbox_id, state)
        await sync_state.cancel_listing(connection, mailbox_id)
        assert not await sync_state.still_lists(connection, mailbox_id, state)
        assert not await sync_state.still_lists(connection, UNKNOWN, state)


class TestPasses:
    async def test_restart_at_the_top_with_the_differences_found_so_far(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await listing_at_page_two(connection, mailbox_id, Listing.ALL)
        await sync_state.begin_pass(connection, mailbox_id)
        await sync_state.record_page(connection, mailbox_id, listed=2, found=1, next_page_token=None, trail=TRAIL)
        await sync_state.restart_pass(connection, mailbox_id)
        state = await sync_state.load(connection, mailbox_id)
        assert (state.listing_page_token, state.listed_count, state.listing_ended) == (None, 0, False)
        assert state.listing_trail == PageTrail()
        assert (state.listing_pass, state.listing_found) == (2, 1)

    async def test_begin_without_differences_and_keep_listed_ids(self, connection: Connection, mailbox_id: int) -> None:
        await listing_at_page_two(connection, mailbox_id, Listing.ALL)
        await sync_state.disturb_listing(connection, mailbox_id)
        await sync_state.begin_pass(connection, mailbox_id)
        state = await sync_state.load(connection, mailbox_id)
        assert (state.listing_page_token, state.listed_count, state.listing_pass) == (None, 0, 2)
        assert state.listing_trail == PageTrail()
        assert (state.listing_found, state.listing_disturbed) == (0, False)
        assert await count_noted(connection, mailbox_id) == 2

    async def test_add_up_pages_until_the_last_one(self, connection: Connection, mailbox_id: int) -> None:
        state = await listing_at_page_two(connection, mailbox_id, Listing.ALL)
        assert (state.listing_page_token, state.listing_trail, state.listing_ended) == ("p2", TRAIL, False)
        await sync_state.record_page(connection, mailbox_id, listed=3, found=2, next_page_token=None, trail=TRAIL)
        state = await sync_state.load(connection, mailbox_id)
        assert (state.listed_count, state.listing_found, state.listing_ended) == (5, 3, True)

    async def test_know_whether_history_was_read_after_the_last_page(
        self, connection: Connection, mailbox_id: int
    ) -> None:
        await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=7, caught_up_hint=1)
        await sync_state.start_listing(connection, mailbox_id, Listing.ALL, target=None)
        await sync_state.record_page(connection, mailbox_id, listed=3, found=2, next_page_token=None, trail=TRAIL)
        assert not (await sync_state.load(connection, mailbox_id)).caught_up_since
        await sync_state.move_cursor(connection, mailbox_id, previous=7, cursor=8, caught_up_hint=1)
        assert (await sync_state.load(connection, mailbox_id)).caught_up_since


class TestDisturbListing:
    async def test_marks_a_current_listing_only(self, connection: Connection, mailbox_id: int) -> None:
        await sync_state.disturb_listing(connection, mailbox_id)
        assert not (await sync_state.load(connection, mailbox_id)).listing_disturbed
        await sync_state.start_listing(connection, mailbox_id, Listing.ALL, target=None)
        await sync_state.disturb_listing(connection, mailbox_id)
        assert (await sync_state.load(connection, mailbox_id)).listing_disturbed


class TestRounds:
    async def test_continue_with_the_ids_of_the_first(self, connection: Connection, mailbox_id: int) -> None:
        await listing_at_page_two(connection, mailbox_id, Listing.VERIFY_IDS)
        await sync_state.begin_pass(connection, mailbox_id)
        await sync_state.begin_second_round(connection, mailbox_id)
        state = await sync_state.load(connection, mailbox_id)
        assert (state.listing, state.listing_round, state.listing_pass) == (Listing.VERIFY_IDS, 2, 1)
        assert (state.listing_page_token, state.listed_count, state.listing_found) == (None, 0, 0)
        assert await count_noted(connection, mailbox_id) == 2

    async def test_of_a_label_begin_without_listed_ids(self, connection: Connection, mailbox_id: int) -> None:
        await listing_at_page_two(connection, mailbox_id, Listing.VERIFY_IDS)
        await sync_state.begin_second_round(connection, mailbox_id)
        await sync_state.begin_label(connection, mailbox_id, "L", listing=Listing.VERIFY_LABEL)
        state = await sync_state.load(connection, mailbox_id)
        assert (state.listing, state.listing_label, state.listing_round) == (Listing.VERIFY_LABEL, "L", 1)
        assert await count_noted(connection, mailbox_id) == 0


class TestEndListing:
    async def test_adds_the_coverage_of_the_listing(self, connection: Connection, mailbox_id: int) -> None:
        await list_and_end(connection, mailbox_id, Listing.NEWEST, target=10)
        assert await covered(connection, mailbox_id) == (10, False)
        await list_and_end(connection, mailbox_id, Listing.NEWEST, target=5)
        assert await covered(connection, mailbox_id) == (10, False)
        await list_and_end(connection, mailbox_id, Listing.ALL)
        assert await covered(connection, mailbox_id) == (10, True)
        await list_and_end(connection, mailbox_id, Listing.NEWEST, target=20)
        assert await covered(connection, mailbox_id) == (20, True)

    @pytest.mark.parametrize(
        ("listing", "covers"),
        [(Listing.ALL, False), (Listing.NEWEST, False), (Listing.HEAD, True), (Listing.RELIST, True)],
    )
    async def test_adds_nothing_for_others(
        self, connection: Connection, mailbox_id: int, listing: Listing, *, covers: bool
    ) -> None:
        await list_and_end(connection, mailbox_id, listing, target=10, covers=covers)
        assert await covered(connection, mailbox_id) == (0, False)

    async def test_leaves_no_trace_of_the_listing(self, connection: Connection, mailbox_id: int) -> None:
        await listing_at_page_two(connection, mailbox_id, Listing.RELIST)
        await sync_state.end_listing(connection, mailbox_id, covers=False)
        state = await sync_state.load(connection, mailbox_id)
        assert (state.listing, state.listing_target, state.listing_label) == (None, None, None)
        assert state.listing_page_token is None
        assert await count_noted(connection, mailbox_id) == 0


class TestCancelListing:
    async def test_resets_the_coverage_to_what_was_fetched(self, connection: Connection, mailbox_id: int) -> None:
        await list_and_end(connection, mailbox_id, Listing.NEWEST, target=10)
        await sync_state.mark_synced(connection, mailbox_id)
        await list_and_end(connection, mailbox_id, Listing.ALL)
        await list_and_end(connection, mailbox_id, Listing.NEWEST, target=20)
        await sync_state.cancel_listing(connection, mailbox_id)
        assert await covered(connection, mailbox_id) == (10, False)

    @pytest.mark.parametrize("listing", list(Listing))
    async def test_ends_all_listings_but_those_after_a_lost_cursor(
        self, connection: Connection, mailbox_id: int, listing: Listing
    ) -> None:
        await sync_state.start_listing(connection, mailbox_id, listing, target=None)
        await connection.execute("UPDATE sync_states SET verify_at = now()")
        await sync_state.cancel_listing(connection, mailbox_id)
        left = (await sync_state.load(connection, mailbox_id)).listing
        assert left == (listing if listing in (Listing.RELIST, Listing.RELABEL) else None)
        assert (await row_of(connection, "sync_states", mailbox_id))["verify_at"] is None


class TestMarkSynced:
    async def test_keeps_the_coverage_through_a_cancellation(self, connection: Connection, mailbox_id: int) -> None:
        await list_and_end(connection, mailbox_id, Listing.NEWEST, target=10)
        await list_and_end(connection, mailbox_id, Listing.ALL)
        assert (await row_of(connection, "sync_states", mailbox_id))["last_synced_at"] is None
        await sync_state.mark_synced(connection, mailbox_id)
        await sync_state.cancel_listing(connection, mailbox_id)
        assert await covered(connection, mailbox_id) == (10, True)
        assert (await row_of(connection, "sync_states", mailbox_id))["last_synced_at"] is not None


class TestEveryFunction:
    async def test_leaves_other_mailboxes_alone(self, connection: Connection, mailbox_id: int) -> None:
        other_id = (await add_mailbox(connection)).mailbox_id
        await sync_state.move_cursor(connection, other_id, previous=None, cursor=7, caught_up_hint=2)
        await list_and_end(connection, other_id, Listing.NEWEST, target=3)
        await listing_at_page_two(connection, other_id, Listing.VERIFY_IDS)
        before = await rows_of(connection, other_id, "sync_states", "listed_ids")
        await sync_state.move_cursor(connection, mailbox_id, previous=None, cursor=7, caught_up_hint=1)
        await sync_state.move_cursor(connection, mailbox_id, previous=7, cursor=8)
        await sync_state.set_cursor_loss(connection, mailbox_id, next(iter(CursorLoss)))
        await sync_state.expect_lag(connection, mailbox_id, seconds=9)
        await listing_at_page_two(connection, mailbox_id, Listing.ALL)
        await sync_state.restart_pass(connection, mailbox_id)
        await sync_state.begin_pass(connection, mailbox_id)
        await sync_state.disturb_listing(connection, mailbox_id)
        await sync_state.begin_second_round(connection, mailbox_id)
        await sync_state.begin_label(connection, mailbox_id, "L", listing=Listing.VERIFY_LABEL)
        await sync_state.cancel_listing(connection, mailbox_id)
        await sync_state.end_listing(connection, mailbox_id, covers=True)
        await sync_state.mark_synced(connection, mailbox_id)
        assert await rows_of(connection, other_id, "sync_states", "listed_ids") == before
