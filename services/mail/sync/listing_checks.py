"""Checks for listings that are far too short, or far too long: pages can be empty or partial, or never end."""

from enum import Enum

import structlog

from services.mail import page_trail
from services.mail.model import Listing, SyncProgress
from services.mail.page_trail import EndlessPagesError
from services.mail.store.sync import listing_diff
from services.mail.sync.turn_context import TurnContext

# A listing by a label may be empty, so an empty one counts after this many passes.
_EMPTY_LABEL_PASSES = 3
# Pages after which a listing is first compared with the provider's total, and messages that it may show beyond it.
_LONG = 64
_SURPLUS = 200
# Messages that a listing may lack besides one in a hundred: some arrive or go meanwhile.
_UNLISTED = 2
# Passes, within two minutes, after which a listing that shows nothing new is believed rather than the total.
_SETTLED_PASSES = 6

log = structlog.get_logger()


class Length(Enum):
    """Whether the number of listed messages is credible."""

    PLAUSIBLE = "plausible"
    # Credible only if another pass shows as few.
    DOUBTFUL = "doubtful"
    TOO_SHORT = "too_short"
    # Too short, and so in each pass for minutes: the provider's total is wrong, or an outage lasts.
    SETTLED = "settled"


async def check_for_end(turn: TurnContext, state: SyncProgress) -> None:
    """Compare a long listing with the provider's total, each time when its pages have doubled.

    Raises EndlessPagesError if it shows far more messages, or less than one on a page, and the errors of calls.
    """
    pages = state.listing_trail.pages
    if pages < _LONG or not page_trail.is_power_of_two(pages):
        return
    profile = await turn.call(turn.provider.costs.profile, turn.session.profile)
    if profile.message_count is None:
        return
    if not pages <= state.listed_count <= 2 * profile.message_count + _SURPLUS:
        raise EndlessPagesError(f"{state.listed_count} of {profile.message_count} messages on {pages} pages")


async def length_of(turn: TurnContext, state: SyncProgress) -> Length:
    """Compare a completed listing with the provider's total. Raises the errors of calls.

    One or two messages may be missing: each of these is checked with a get.
    """
    listed = state.listed_count
    match state.listing:
        case Listing.HEAD:
            return Length.PLAUSIBLE
        case Listing.RELABEL | Listing.VERIFY_LABEL:
            doubtful = listed == 0 and state.listing_pass < _EMPTY_LABEL_PASSES and await _is_carried(turn, state)
            return Length.TOO_SHORT if doubtful else Length.PLAUSIBLE
        case Listing.VERIFY_IDS if state.listing_round == 1 and not state.covered_all:
            # The number of messages without Spam and Trash is unknown. The second round is checked.
            return Length.PLAUSIBLE
    costs = turn.provider.costs
    async with turn.calls.reserved(costs.profile + (state.listing is Listing.NEWEST) * costs.list_ids):
        return await _compare_with_total(turn, state)


async def _compare_with_total(turn: TurnContext, state: SyncProgress) -> Length:
    listed, expected = state.listed_count, await _expected(turn, state)
    if expected - listed <= max(_UNLISTED, expected // 100):
        return Length.PLAUSIBLE
    if 2 * listed >= expected:
        # An outage cut it short, or the total counts what listings leave out.
        return Length.DOUBTFUL if state.listing_pass == 1 else Length.PLAUSIBLE
    if state.listing is Listing.NEWEST and not await _lacks_with_spam_and_trash(turn, expected):
        # The rest is in Spam and Trash, or the outage ended between the two listings.
        return Length.DOUBTFUL if state.listing_pass == 1 else Length.PLAUSIBLE
    log.warning("a listing is too short", mailbox_id=turn.mailbox_id, listed=listed, expected=expected)
    return Length.SETTLED if await _has_settled(turn, state) else Length.TOO_SHORT


async def _has_settled(turn: TurnContext, state: SyncProgress) -> bool:
    """Return whether passes show nothing new, and at least half of the copy: each message that they lack costs a get.

    An empty listing is that of an outage.
    """
    if state.listing_pass < _SETTLED_PASSES or state.listing_found or not state.listed_count:
        return False
    async with turn.reading() as connection:
        return 2 * state.listed_count >= await listing_diff.count_stored(connection, turn.mailbox_id)


async def _is_carried(turn: TurnContext, state: SyncProgress) -> bool:
    assert state.listing_label is not None  # noqa: S101 - for the type checker; begin_label sets it
    async with turn.reading() as connection:
        return await listing_diff.is_carried(connection, turn.mailbox_id, state.listing_label)


async def _expected(turn: TurnContext, state: SyncProgress) -> int:
    profile = await turn.call(turn.provider.costs.profile, turn.session.profile)
    total = profile.message_count or 0
    return total if state.listing_target is None else min(total, state.listing_target)


async def _lacks_with_spam_and_trash(turn: TurnContext, expected: int) -> bool:
    """Return whether a page of the whole mailbox is as short: the provider's total may include Spam and Trash."""
    size = min(expected, turn.provider.page_size)
    page = await turn.call(
        turn.provider.costs.list_ids,
        lambda: turn.session.list_ids(page_token=None, page_size=size, include_spam_trash=True),
        live=False,
    )
    return 2 * len(page.listed) < size
