"""Listing of the provider's ids, page by page, in passes from the top until a pass shows nothing new.

If page tokens are offsets, a deletion between two pages makes the second one skip a message. A pass without an unknown
message, and without a deletion in history meanwhile, has skipped none; some providers tell that by themselves.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from services.mail import events, page_trail
from services.mail.model import ListedId, Listing, PageTrail, Sync, SyncProgress
from services.mail.page_trail import EndlessPagesError
from services.mail.provider_access.calls import SHORT_WAIT
from services.mail.provider_access.quota import QuotaWaitError
from services.mail.providers.base import IdPage
from services.mail.providers.errors import (
    CursorLostError,
    LabelGoneError,
    PageTokenExpiredError,
    ProviderUnavailableError,
    RouteMissingError,
)
from services.mail.store.connection import Connection
from services.mail.store.sync import fetch_queue, listing_diff, sync_state, syncs, verification
from services.mail.sync import history
from services.mail.sync.listing_checks import Length, check_for_end, length_of
from services.mail.sync.listing_results import (
    ListingEndedError,
    begin_next_label,
    begin_next_step,
    compare,
    fail_sync,
    recording,
)
from services.mail.sync.turn_context import TurnContext

# Their ids are queued at once. All other listings are compared with the stored messages at their end.
_TO_FETCH = (Listing.NEWEST, Listing.ALL, Listing.HEAD)
# Those of a sync: it fails if they cannot be completed.
_OF_A_SYNC = (Listing.NEWEST, Listing.ALL, Listing.VERIFY_IDS, Listing.VERIFY_LABEL)
# A listing that still shows new messages, or too few, after this many passes is given up. One that is too short is
# repeated for almost three hours.
_MOST_PASSES = 10
# Seconds after which a verification looks for what a listing lacked that was too short and settled.
_DOUBTED_SECONDS = 3_600.0
# Passes that only deletions cause. Most providers' tokens are not offsets and need none.
_DISTURBED_PASSES = 4
# Failed turns in a row, three minutes, before a stored page token counts as expired: not every refusal says its reason.
_TRIES_OF_A_TOKEN = 8

log = structlog.get_logger()


class ListingsLagError(QuotaWaitError):
    """Listings are not up to date yet; try again in `seconds`. One that is too short has an `error`."""

    def __init__(self, seconds: float, *, error: str = "") -> None:
        super().__init__(seconds)
        self.error = error


async def begin_if_wanted(turn: TurnContext, state: SyncProgress, sync: Sync | None) -> bool:
    """Start the listing of the active sync, or a repeat of the first page; return whether one was needed."""
    if sync is not None and not sync.listing_done:
        await begin(turn, state)
    elif state.listable_in is not None and state.listable_in <= 0:
        await _begin_head(turn, state)
    else:
        return False
    return True


async def begin(turn: TurnContext, state: SyncProgress) -> None:
    """Start the listing of the active sync, unless it was cancelled meanwhile or needs none."""
    async with turn.writing() as connection:
        sync = await syncs.active(connection, turn.mailbox_id)
        if sync is None:
            return
        if sync.newest_count is None and state.covered_all:
            # History has stored or queued everything since. The newest N are listed each time: a deletion lets an older
            # message move up among them.
            await syncs.set_listing_done(connection, turn.mailbox_id, covered=None)
            return
        listing = Listing.ALL if sync.newest_count is None else Listing.NEWEST
        await sync_state.start_listing(connection, turn.mailbox_id, listing, target=sync.newest_count)
        await syncs.restart_count(connection, turn.mailbox_id)


async def _begin_head(turn: TurnContext, state: SyncProgress) -> None:
    size = turn.provider.page_size
    target = size if state.covered_all else min(size, state.covered_count)
    async with turn.writing() as connection:
        await sync_state.start_listing(connection, turn.mailbox_id, Listing.HEAD, target=target)
        if target == 0:
            await sync_state.end_listing(connection, turn.mailbox_id, covers=False)


async def list_page(turn: TurnContext, state: SyncProgress) -> None:
    """List a page; in one transaction, store its results and the token of the next page.

    Raises ListingsLagError, ProviderError and the errors of calls.
    """
    skips_none = False
    with contextlib.suppress(ListingEndedError):
        if not state.listing_ended:
            await _wait_for_index(state)
            try:
                await check_for_end(turn, state)
            except EndlessPagesError as error:
                await _failed_at_token(turn, state, error)
                raise
            skips_none = await _list_page(turn, state)
            async with turn.reading() as connection:
                state = await sync_state.load(connection, turn.mailbox_id)
        if state.listing_ended:
            await _end_pass(turn, state, skips_none=skips_none)


async def _wait_for_index(state: SyncProgress) -> None:
    pause = state.listing_resumes_in or 0.0
    if pause > SHORT_WAIT:
        raise ListingsLagError(pause, error=events.LISTING_INCOMPLETE)
    lag = 0.0 if state.listable_in is None or state.listing is not Listing.RELIST else state.listable_in
    if lag > SHORT_WAIT:
        raise ListingsLagError(lag)
    await asyncio.sleep(max(0.0, pause, lag))


async def _list_page(turn: TurnContext, state: SyncProgress) -> bool:
    """List a page; return whether its listing has surely skipped no message."""
    costs = turn.provider.costs
    may_ask_history = state.listing_pass > 1 and state.listing in _TO_FETCH
    async with turn.calls.reserved(costs.list_ids + may_ask_history * costs.list_changes, live=False):
        return await _list_and_record(turn, state)


async def _list_and_record(turn: TurnContext, state: SyncProgress) -> bool:
    left = None if state.listing_target is None else max(0, state.listing_target - state.listed_count)
    page = await _ask(turn, state, size=max(1, min(turn.provider.page_size, left or turn.provider.page_size)))
    if page is None:
        return False
    # Some providers send more than the requested number.
    listed = page.listed[:left]
    is_last = state.listing is Listing.HEAD or _is_full(state, state.listed_count + len(listed))
    next_page_token = None if is_last else page.next_page_token
    trail = state.listing_trail if next_page_token is None else await _followed(turn, state, next_page_token)
    unknown = await _unknown(turn, state, listed)
    async with recording(turn, state) as connection:
        found = await _record(connection, turn.mailbox_id, state, listed, unknown)
        await sync_state.record_page(
            connection,
            turn.mailbox_id,
            listed=len(listed),
            found=found,
            next_page_token=next_page_token,
            trail=trail,
        )
    return page.skips_none


def _is_full(state: SyncProgress, listed: int) -> bool:
    return state.listing_target is not None and listed >= state.listing_target


async def _ask(turn: TurnContext, state: SyncProgress, *, size: int) -> IdPage | None:
    """Return the next page; None if the label of the listing was deleted meanwhile."""
    try:
        return await turn.call(
            turn.provider.costs.list_ids,
            lambda: turn.session.list_ids(
                page_token=state.listing_page_token,
                page_size=size,
                include_spam_trash=_includes_spam_trash(state),
                label_id=state.listing_label,
            ),
            live=False,
        )
    except PageTokenExpiredError:
        await _restart_pass(turn, state)
        # Counts as a failed turn, so that a provider whose tokens never last is noticed.
        raise
    except ProviderUnavailableError as error:
        await _failed_at_token(turn, state, error)
        raise
    except LabelGoneError:
        async with recording(turn, state) as connection:
            await begin_next_label(connection, turn.mailbox_id, _listing(state), after=state.listing_label)
        return None


async def _followed(turn: TurnContext, state: SyncProgress, next_page_token: str) -> PageTrail:
    """Return the trail with the next page. An endless listing counts as a failed turn, or it would be listed for ever.

    The turn's successors ask for the same page, so that their pauses grow.
    """
    try:
        return page_trail.follow(state.listing_trail, next_page_token)
    except EndlessPagesError as error:
        await _failed_at_token(turn, state, error)
        raise


async def _failed_at_token(turn: TurnContext, state: SyncProgress, error: ProviderUnavailableError) -> None:
    """Start the pass again where the token of the page has failed for long."""
    if state.listing_page_token is not None and turn.lease.attempts >= _TRIES_OF_A_TOKEN:
        log.warning(
            "a page token may have expired, listing from the top", mailbox_id=turn.mailbox_id, detail=error.detail
        )
        await _restart_pass(turn, state)


async def _restart_pass(turn: TurnContext, state: SyncProgress) -> None:
    async with recording(turn, state) as connection:
        await sync_state.restart_pass(connection, turn.mailbox_id)
        if state.listing_pass == 1:
            await syncs.restart_count(connection, turn.mailbox_id)


def _includes_spam_trash(state: SyncProgress) -> bool:
    match state.listing:
        case Listing.NEWEST:
            return False
        case Listing.HEAD:
            return state.covered_all
        case Listing.VERIFY_IDS:
            return state.covered_all or state.listing_round > 1
    return True


async def _unknown(turn: TurnContext, state: SyncProgress, listed: Sequence[ListedId]) -> Sequence[ListedId]:
    """Return the ids that no earlier pass has shown and history has not delivered: repeated passes look for these."""
    if state.listing_pass == 1 or state.listing not in _TO_FETCH:
        return listed
    async with turn.reading() as connection:
        unknown = await fetch_queue.unknown(connection, turn.mailbox_id, listed)
    if unknown:
        await _read_history(turn)
        async with turn.reading() as connection:
            unknown = await fetch_queue.unknown(connection, turn.mailbox_id, unknown)
    return unknown


async def _record(
    connection: Connection,
    mailbox_id: int,
    state: SyncProgress,
    listed: Sequence[ListedId],
    unknown: Sequence[ListedId],
) -> int:
    """Queue the ids of a page, or record them for the comparison; return how many were unknown."""
    if state.listing not in _TO_FETCH:
        return await listing_diff.note(
            connection,
            mailbox_id,
            [entry.external_id for entry in listed],
            round_=state.listing_round,
            offset=state.listed_count,
            label_id=state.listing_label,
        )
    found = await fetch_queue.queue_listed(connection, mailbox_id, unknown, offset=state.listed_count)
    is_first = state.listing_pass == 1 and state.listing is not Listing.HEAD
    await syncs.count(connection, mailbox_id, listed=len(listed) if is_first else found)
    return found


async def _end_pass(turn: TurnContext, state: SyncProgress, *, skips_none: bool) -> None:
    """End a completely listed pass: end the listing or start its next pass."""
    can_skip = state.listing_page_token is not None and not skips_none
    missed = can_skip and await _may_have_missed(turn, state)
    length = Length.PLAUSIBLE
    if not missed and not _is_full(state, state.listed_count):
        length = await length_of(turn, state)
    incomplete = missed or length in (Length.DOUBTFUL, Length.TOO_SHORT)
    if incomplete and state.listing_pass < _MOST_PASSES:
        is_short = length is Length.TOO_SHORT
        pause = turn.intervals.short_listing * 3.0 ** (state.listing_pass - 1) if is_short else 0.0
        async with recording(turn, state) as connection:
            await sync_state.begin_pass(connection, turn.mailbox_id, after=pause)
        return
    if incomplete:
        log.warning("a listing never became complete", mailbox_id=turn.mailbox_id, listing=_listing(state).value)
        if state.listing in _OF_A_SYNC:
            async with recording(turn, state) as connection:
                await fail_sync(connection, turn.mailbox_id)
            return
    if state.listing not in _TO_FETCH:
        await compare(turn, state)
    async with recording(turn, state) as connection:
        await begin_next_step(connection, turn.mailbox_id, state)
        if length is Length.SETTLED:
            await verification.bring_forward(connection, turn.mailbox_id, seconds=_DOUBTED_SECONDS)


async def _may_have_missed(turn: TurnContext, state: SyncProgress) -> bool:
    """Return whether the pages of this pass can have skipped messages."""
    if not state.listing_found and not state.caught_up_since:
        await _read_history(turn)
        async with turn.reading() as connection:
            state = await sync_state.load(connection, turn.mailbox_id)
    return state.listing_found > 0 or (state.listing_disturbed and state.listing_pass < _DISTURBED_PASSES)


async def _read_history(turn: TurnContext) -> None:
    """Read history up to the present. If it cannot be read, the turn's own reading handles that."""
    async with turn.reading() as connection:
        state = await sync_state.load(connection, turn.mailbox_id)
    if state.cursor is not None and state.cursor_loss is None:
        with contextlib.suppress(CursorLostError, RouteMissingError):
            await history.read_on(turn, state, state.cursor)


def _listing(state: SyncProgress) -> Listing:
    assert state.listing is not None  # noqa: S101 - for the type checker; a page is that of a listing
    return state.listing
