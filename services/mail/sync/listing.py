"""Listing the provider's ids into the queue, a page at a time; after a lost cursor also what is gone or relabelled."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.mail.model import ListedId, Listing, SyncProgress
from services.mail.providers.base import LabelGoneError, PageTokenExpiredError
from services.mail.store import labels, message_labels, messages
from services.mail.store.connection import Connection
from services.mail.store.sync import fetch_queue, listing_diff, sync_state, syncs, verification
from services.mail.store.sync.listing_diff import IdRange
from services.mail.sync.turn_context import TurnContext

_TO_FETCH = (Listing.NEWEST, Listing.ALL)


class _ListingEndedError(Exception):
    """The sync was cancelled while a page was under way."""


async def begin(turn: TurnContext) -> None:
    """Starts the listing that the active sync asks for; none if it was cancelled meanwhile."""
    async with turn.writing() as connection:
        sync = await syncs.active(connection, turn.mailbox_id)
        if sync is None:
            return
        listing = Listing.ALL if sync.newest_count is None else Listing.NEWEST
        await sync_state.start_listing(connection, turn.mailbox_id, listing, target=sync.newest_count)
        await syncs.restart_count(connection, turn.mailbox_id)


async def list_page(turn: TurnContext, state: SyncProgress) -> None:
    """Lists one page and records, in one transaction, what it implies and where the next one begins."""
    with contextlib.suppress(_ListingEndedError):
        await _list_page(turn, state)


async def _list_page(turn: TurnContext, state: SyncProgress) -> None:
    room = turn.provider.page_size
    if state.listing_target is not None:
        room = min(room, state.listing_target - state.listed_count)
    try:
        page = await turn.call(
            turn.provider.costs.list_page,
            lambda token: turn.provider.list_ids(
                token,
                page_token=state.listing_page_token,
                page_size=max(1, room),
                include_spam_trash=_includes_spam_trash(state),
                label_id=state.listing_label,
            ),
            live=False,
        )
    except PageTokenExpiredError:
        async with _recording(turn, state) as connection:
            await sync_state.restart_listing(connection, turn.mailbox_id)
            await syncs.restart_count(connection, turn.mailbox_id)
        # It counts as a failed turn, so that a provider whose tokens never last is noticed.
        raise
    except LabelGoneError:
        # It was deleted meanwhile.
        async with _recording(turn, state) as connection:
            await _next_label(connection, turn.mailbox_id, _listing(state), after=state.listing_label)
        return
    listed = page.listed[: max(0, room)]
    full = state.listing_target is not None and state.listed_count + len(listed) >= state.listing_target
    if page.next_page_token is None and state.listing not in _TO_FETCH:
        await _compare(turn, state, listed)
    async with _recording(turn, state) as connection:
        await _record(connection, turn.mailbox_id, state, listed)
        if page.next_page_token is None or full:
            await _end(connection, turn.mailbox_id, state)
        else:
            await sync_state.advance_listing(
                connection, turn.mailbox_id, page_token=page.next_page_token, listed=len(listed)
            )


def _includes_spam_trash(state: SyncProgress) -> bool:
    if state.listing is Listing.VERIFY_IDS:
        return state.covered_all or state.listing_round > 1
    return state.listing is not Listing.NEWEST


@asynccontextmanager
async def _recording(turn: TurnContext, state: SyncProgress) -> AsyncIterator[Connection]:
    async with turn.writing() as connection:
        if not await sync_state.still_lists(connection, turn.mailbox_id, state):
            raise _ListingEndedError
        yield connection


async def _record(connection: Connection, mailbox_id: int, state: SyncProgress, listed: list[ListedId]) -> None:
    if state.listing in _TO_FETCH:
        await fetch_queue.queue_listed(connection, mailbox_id, listed, offset=state.listed_count)
        await syncs.count(connection, mailbox_id, listed=len(listed))
    else:
        ids = [entry.external_id for entry in listed]
        await listing_diff.note(connection, mailbox_id, ids, round_=state.listing_round, offset=state.listed_count)


async def _compare(turn: TurnContext, state: SyncProgress, listed: list[ListedId]) -> None:
    """Does what a listing that ends with this page implies for each message, in transactions of bounded size.

    To repeat any of it changes nothing: after an interruption it begins again with the last page.
    """
    async with _recording(turn, state) as connection:
        await _record(connection, turn.mailbox_id, state, listed)
        ranges = await listing_diff.ranges(connection, turn.mailbox_id)
        depth = await _depth(connection, turn.mailbox_id, state)
    for ids in ranges:
        async with _recording(turn, state) as connection:
            await _compare_range(connection, turn.mailbox_id, state, ids, depth=depth)


async def _depth(connection: Connection, mailbox_id: int, state: SyncProgress) -> int | None:
    """How much of the listing the copy is to hold, None for all: the newest N and all above the oldest stored."""
    if state.covered_all:
        return None
    return max(state.covered_count, await listing_diff.deepest_stored(connection, mailbox_id))


async def _compare_range(
    connection: Connection, mailbox_id: int, state: SyncProgress, ids: IdRange, *, depth: int | None
) -> None:
    match state.listing:
        case Listing.RELIST if state.listing_round == 1:
            await listing_diff.queue_missing(connection, mailbox_id, ids, depth=depth)
        case Listing.RELIST:
            # One listing is not enough to delete: the provider's index is only eventually consistent.
            gone = await listing_diff.unlisted(connection, mailbox_id, ids)
            await fetch_queue.remove(connection, mailbox_id, gone)
            await messages.delete(connection, mailbox_id, gone)
        case Listing.VERIFY_IDS:
            await _verify_range(connection, mailbox_id, state, ids, depth=depth)
        case Listing.RELABEL:
            await message_labels.set_as_listed(connection, mailbox_id, _label(state), ids)
        case Listing.VERIFY_LABEL:
            drift = await verification.suspect_drifted(connection, mailbox_id, _label(state), ids)
            await verification.count(connection, mailbox_id, drift=drift)


async def _verify_range(
    connection: Connection, mailbox_id: int, state: SyncProgress, ids: IdRange, *, depth: int | None
) -> None:
    """Queues what is missing here, and what is not listed there.

    The newest N are counted without Spam and Trash, so the first round of a part of a mailbox leaves them out; only
    what neither round has shown is suspected to be gone.
    """
    missing = extra = 0
    if state.listing_round == 1:
        missing = await listing_diff.queue_missing(connection, mailbox_id, ids, depth=depth)
    if state.listing_round == 2 or state.covered_all:
        unlisted = await listing_diff.unlisted(connection, mailbox_id, ids)
        extra = await verification.suspect(connection, mailbox_id, unlisted)
    await verification.count(connection, mailbox_id, missing=missing, extra=extra)


def _listing(state: SyncProgress) -> Listing:
    assert state.listing is not None  # noqa: S101 - for the type checker; a page is that of a listing
    return state.listing


def _label(state: SyncProgress) -> str:
    assert state.listing_label is not None  # noqa: S101 - for the type checker; begin_label sets it
    return state.listing_label


async def _end(connection: Connection, mailbox_id: int, state: SyncProgress) -> None:
    """Goes on to what follows the listing that has ended."""
    match state.listing:
        case Listing.NEWEST | Listing.ALL:
            await sync_state.end_listing(connection, mailbox_id)
            await syncs.set_listing_done(connection, mailbox_id, covered=state.listing_target)
        case Listing.RELIST:
            if state.listing_round == 1 and await _lacks_some(connection, mailbox_id):
                await sync_state.begin_second_round(connection, mailbox_id)
            else:
                await _next_label(connection, mailbox_id, Listing.RELABEL, after=None)
        case Listing.VERIFY_IDS:
            if state.listing_round == 1 and not state.covered_all:
                await sync_state.begin_second_round(connection, mailbox_id)
            else:
                await _next_label(connection, mailbox_id, Listing.VERIFY_LABEL, after=None)
        case Listing.RELABEL | Listing.VERIFY_LABEL:
            await _next_label(connection, mailbox_id, state.listing, after=state.listing_label)
        case None:
            raise AssertionError("no listing is under way")


async def _lacks_some(connection: Connection, mailbox_id: int) -> bool:
    for ids in await listing_diff.ranges(connection, mailbox_id):
        if await listing_diff.unlisted(connection, mailbox_id, ids):
            return True
    return False


async def _next_label(connection: Connection, mailbox_id: int, listing: Listing, *, after: str | None) -> None:
    label_ids = sorted(label.label_id for label in await labels.of_mailbox(connection, mailbox_id))
    following = next((label_id for label_id in label_ids if after is None or label_id > after), None)
    if following is not None:
        await sync_state.begin_label(connection, mailbox_id, following, listing=listing)
        return
    await sync_state.end_listing(connection, mailbox_id)
    if listing is Listing.VERIFY_LABEL:
        await verification.set_done(connection, mailbox_id)
