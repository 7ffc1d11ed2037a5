"""The end of a listing: its results for each message, stored in transactions of bounded size, and what follows it.

Every step can be repeated: after an interruption it starts again with the last page.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.mail import events
from services.mail.model import Listing, SyncProgress, SyncState
from services.mail.store import labels
from services.mail.store.connection import Connection
from services.mail.store.sync import listing_diff, sync_state, syncs, verification
from services.mail.store.sync.listing_diff import IdRange
from services.mail.sync.turn_context import TurnContext


class ListingEndedError(Exception):
    """The listing was ended, or replaced by another one, during a page."""


@asynccontextmanager
async def recording(turn: TurnContext, state: SyncProgress) -> AsyncIterator[Connection]:
    """Open a transaction that continues the listing of `state`. Raises ListingEndedError, LeaseLostError."""
    async with turn.writing() as connection:
        if not await sync_state.still_lists(connection, turn.mailbox_id, state):
            raise ListingEndedError
        yield connection


async def compare(turn: TurnContext, state: SyncProgress) -> None:
    """Queue the messages that differ from the listing: a get decides about each."""
    async with recording(turn, state) as connection:
        ranges = await listing_diff.ranges(connection, turn.mailbox_id)
        depth = await _depth(connection, turn.mailbox_id, state, ranges)
    for ids in ranges:
        async with recording(turn, state) as connection:
            await _compare_range(connection, turn.mailbox_id, state, ids, depth=depth)


async def _depth(connection: Connection, mailbox_id: int, state: SyncProgress, ranges: Sequence[IdRange]) -> int | None:
    """Return how many listed messages are to be in the copy (None for all): at least down to the oldest stored one."""
    if state.covered_all:
        return None
    deepest = [await listing_diff.deepest_stored(connection, mailbox_id, ids) for ids in ranges]
    return max(state.covered_count, *deepest)


async def _compare_range(
    connection: Connection, mailbox_id: int, state: SyncProgress, ids: IdRange, *, depth: int | None
) -> None:
    missing = extra = drift = 0
    if state.listing_label is not None:
        drift = await listing_diff.suspect_mislabelled(connection, mailbox_id, state.listing_label, ids)
    # The newest N are counted without Spam and Trash, so the first round of a verification leaves these out. Only
    # messages missing in both rounds are suspected to be gone.
    elif state.listing is Listing.VERIFY_IDS and not state.covered_all and state.listing_round == 1:
        missing = await listing_diff.queue_missing(connection, mailbox_id, ids, depth=depth)
    else:
        if state.listing_round == 1:
            missing = await listing_diff.queue_missing(connection, mailbox_id, ids, depth=depth)
        extra = await listing_diff.suspect_unlisted(connection, mailbox_id, ids)
    if state.listing in (Listing.VERIFY_IDS, Listing.VERIFY_LABEL):
        await verification.count(connection, mailbox_id, missing=missing, extra=extra, drift=drift)


async def fail_sync(connection: Connection, mailbox_id: int) -> None:
    """End a listing that never became complete, and its sync. What was listed is fetched all the same."""
    await events.end_sync(connection, mailbox_id, SyncState.FAILED, error=events.LISTING_INCOMPLETE)
    await sync_state.cancel_listing(connection, mailbox_id)


async def begin_next_step(connection: Connection, mailbox_id: int, state: SyncProgress) -> None:
    """Start the step that follows a completed listing."""
    match state.listing:
        case Listing.NEWEST | Listing.ALL:
            await sync_state.end_listing(connection, mailbox_id, covers=True)
            await syncs.set_listing_done(connection, mailbox_id, covered=state.listing_target)
        case Listing.HEAD:
            await sync_state.end_listing(connection, mailbox_id, covers=False)
        case Listing.RELIST:
            await begin_next_label(connection, mailbox_id, Listing.RELABEL, after=None)
        case Listing.VERIFY_IDS:
            if state.listing_round == 1 and not state.covered_all:
                await sync_state.begin_second_round(connection, mailbox_id)
            else:
                await begin_next_label(connection, mailbox_id, Listing.VERIFY_LABEL, after=None)
        case Listing.RELABEL | Listing.VERIFY_LABEL:
            await begin_next_label(connection, mailbox_id, state.listing, after=state.listing_label)
        case None:
            raise AssertionError("no listing is under way")


async def begin_next_label(connection: Connection, mailbox_id: int, listing: Listing, *, after: str | None) -> None:
    """Start the listing of the label that follows `after`, None for the first one; end the listing after the last."""
    label_ids = sorted(label.label_id for label in await labels.of_mailbox(connection, mailbox_id))
    following = next((label_id for label_id in label_ids if after is None or label_id > after), None)
    if following is not None:
        await sync_state.begin_label(connection, mailbox_id, following, listing=listing)
        return
    await sync_state.end_listing(connection, mailbox_id, covers=False)
    if listing is Listing.VERIFY_LABEL:
        await verification.set_done(connection, mailbox_id)
