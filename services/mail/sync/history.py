"""Reading of history: each change since the cursor is stored or queued before the cursor moves."""

import math
import time
from collections.abc import Set

import structlog

from services.mail import page_trail
from services.mail.model import CursorLoss, HistoryDelta, Listing, PageTrail, SyncProgress
from services.mail.page_trail import EndlessPagesError
from services.mail.providers.base import HistoryPage
from services.mail.providers.errors import (
    CursorLostError,
    HistoryRestartedError,
    PageTokenExpiredError,
    ProviderUnavailableError,
    RouteMissingError,
)
from services.mail.store import labels, message_labels, messages
from services.mail.store.connection import Connection
from services.mail.store.control.leases import LeaseLostError
from services.mail.store.sync import fetch_queue, listing_diff, sync_state
from services.mail.sync import label_copy
from services.mail.sync.turn_context import TurnContext

# Consecutive turns without history before the provider counts as one that keeps none.
_TURNS_WITHOUT_HISTORY = 3
# Consecutive turns, 15 s, before history and profile that both end before the cursor count as a history that restarted:
# both can come from a replica that lags, and a comparison of everything costs a large mailbox minutes.
_TURNS_BEHIND = 5
# Pages in a row without a record, after which history counts as endless. A provider that filters can have a few.
_IDLE_PAGES = 100
# Messages in a transaction: a mailbox can have a million.
_CAPPED_AT_ONCE = 1_000

log = structlog.get_logger()


async def catch_up(turn: TurnContext, state: SyncProgress, *, deadline: float = math.inf) -> bool:
    """Read history up to the present, or until `deadline` (of the monotonic clock); return whether the present was
    reached: the newest hint seen before has then been served.

    The cursor moves page by page, so that an interruption repeats one page at most.
    """
    hint = turn.newest_hint
    if state.cursor is not None and state.cursor_loss is None:
        try:
            return await read_on(turn, state, state.cursor, deadline=deadline)
        except (CursorLostError, RouteMissingError) as lost:
            if isinstance(lost, RouteMissingError) and turn.lease.attempts < _TURNS_WITHOUT_HISTORY:
                raise
            state = await _record_loss(turn, lost)
    await _begin(turn, state, hint=hint)
    return True


async def _record_loss(turn: TurnContext, lost: CursorLostError | RouteMissingError) -> SyncProgress:
    """Record that the cursor is lost, so that a turn that waits for quota does not ask again; return the state."""
    log.warning("history cursor lost, comparing everything", mailbox_id=turn.mailbox_id, detail=lost.detail)
    loss = CursorLoss.RESTARTED if isinstance(lost, HistoryRestartedError) else CursorLoss.EXPIRED
    async with turn.writing() as connection:
        await sync_state.set_cursor_loss(connection, turn.mailbox_id, loss)
        return await sync_state.load(connection, turn.mailbox_id)


async def _begin(turn: TurnContext, state: SyncProgress, *, hint: int) -> None:
    """Set the cursor to the present before any listing, and have stored messages compared."""
    cursor = await _present(turn)
    if state.cursor_loss is CursorLoss.RESTARTED and state.cursor is not None:
        if cursor is None or cursor >= state.cursor or turn.lease.attempts < _TURNS_BEHIND:
            async with turn.writing() as connection:
                await sync_state.set_cursor_loss(connection, turn.mailbox_id, None)
            raise ProviderUnavailableError("history lags")
        await _cap_versions(turn, cursor)
    async with turn.writing() as connection:
        await _move(connection, turn, previous=state.cursor, cursor=cursor, caught_up_hint=hint)
        # The first ones, and those that changed while no history was read.
        await labels.make_due(connection, turn.mailbox_id)
        await sync_state.expect_lag(connection, turn.mailbox_id, seconds=turn.intervals.listing_lag)
        if state.caught_up_hint > 0:
            await sync_state.start_listing(connection, turn.mailbox_id, Listing.RELIST, target=None)


async def _cap_versions(turn: TurnContext, cursor: int) -> None:
    """Lower versions to the cursor: numbers of the old history cannot be compared with the new ones.

    The cursor moves after that, so an interruption repeats it.
    """
    async with turn.writing() as connection:
        await fetch_queue.cap_versions(connection, turn.mailbox_id, cursor)
    last: str | None = ""
    while last is not None:
        async with turn.writing() as connection:
            last = await messages.cap_versions(connection, turn.mailbox_id, cursor, after=last, limit=_CAPPED_AT_ONCE)


async def _present(turn: TurnContext) -> int | None:
    """Return the mailbox's current cursor; without one the newest message's version, which is older and so safe."""
    costs = turn.provider.costs
    async with turn.calls.reserved(costs.profile + costs.list_ids + costs.version):
        profile = await turn.call(costs.profile, turn.session.profile)
        if profile.cursor is not None:
            return profile.cursor
        newest = await turn.call(
            costs.list_ids,
            lambda: turn.session.list_ids(page_token=None, page_size=1, include_spam_trash=True),
        )
        if not newest.listed:
            return None
        external_id = newest.listed[0].external_id
        return await turn.call(costs.version, lambda: turn.session.version(external_id))


async def read_on(turn: TurnContext, state: SyncProgress, cursor: int, *, deadline: float = math.inf) -> bool:
    """Read history from the cursor on, as `catch_up` does.

    Beyond the deadline it reads on until the cursor has moved, or the next turn would read the same pages again. Raises
    CursorLostError and, where the provider lacks history at the moment, RouteMissingError.
    """
    hint = turn.newest_hint
    start = position = bound = cursor
    page_token: str | None = None
    trail, idle = PageTrail(), 0
    while True:
        try:
            page = await _read_page(turn, start, page_token)
        except PageTokenExpiredError:
            if start == position:
                # Nothing was gained since the last beginning, so another one would lead here again.
                raise
            start, page_token = position, None
            trail = PageTrail()
            continue
        last = page.next_page_token is None
        if page_token is None:
            # The present of later pages can be ahead of the changes that they show.
            bound = page.latest
        reached = max(position, page.last_record or position, bound if last else position)
        await label_copy.learn(turn, _added_labels(page.changes))
        async with turn.writing() as connection:
            await _apply(connection, turn, page.changes, state)
            await _move(connection, turn, previous=position, cursor=reached, caught_up_hint=hint if last else None)
        if page.next_page_token is None:
            return True
        # What is endless counts as a failed turn, or it would be read for ever.
        trail = page_trail.follow(trail, page.next_page_token)
        idle = 0 if page.is_resumed or reached > position else idle + 1
        if idle == _IDLE_PAGES:
            raise EndlessPagesError(f"{idle} pages of history without a record")
        position, page_token = reached, page.next_page_token
        if time.monotonic() > deadline and (page.is_resumed or position > cursor):
            return False


async def _read_page(turn: TurnContext, cursor: int, page_token: str | None) -> HistoryPage:
    return await turn.call(
        turn.provider.costs.list_changes,
        lambda: turn.session.list_changes(cursor=cursor, page_token=page_token),
    )


async def _move(
    connection: Connection, turn: TurnContext, *, previous: int | None, cursor: int | None, caught_up_hint: int | None
) -> None:
    moved = await sync_state.move_cursor(
        connection, turn.mailbox_id, previous=previous, cursor=cursor, caught_up_hint=caught_up_hint
    )
    if not moved:
        raise LeaseLostError


def _added_labels(changes: HistoryDelta) -> set[str]:
    return {label for listed in changes.labels.values() for change in listed for label in change.added}


async def _apply(connection: Connection, turn: TurnContext, changes: HistoryDelta, state: SyncProgress) -> None:
    """Store or queue the changes of a page."""
    mailbox_id = turn.mailbox_id
    if changes.deleted:
        gone = list(changes.deleted)
        await sync_state.disturb_listing(connection, mailbox_id)
        await listing_diff.forget(connection, mailbox_id, gone)
        await fetch_queue.remove(connection, mailbox_id, gone)
        await messages.delete(connection, mailbox_id, gone)
    relabelled = {id_: listed[-1].version for id_, listed in changes.labels.items()}
    stored = await messages.versions(connection, mailbox_id, list(changes.added.keys() | relabelled.keys()))
    # A message that was added again has new labels and contents: changes cannot be based on the stored ones.
    wanted = {id_: version for id_, version in changes.added.items() if stored.get(id_, -1) < version}
    done = await _apply_labels(connection, turn, changes, state, without=wanted.keys())
    for id_ in await _in_copy(connection, mailbox_id, relabelled.keys() - done, changes, state):
        if stored.get(id_, -1) < relabelled[id_]:
            wanted[id_] = max(relabelled[id_], wanted.get(id_, 0))
    # Nothing can be compared or changed, so the message is fetched.
    for id_ in await _in_copy(connection, mailbox_id, changes.unclear, changes, state):
        wanted.setdefault(id_, 0)
    await fetch_queue.queue_changed(connection, mailbox_id, wanted, threads=changes.threads)


async def _apply_labels(
    connection: Connection, turn: TurnContext, changes: HistoryDelta, state: SyncProgress, *, without: Set[str]
) -> set[str]:
    """Change the labels and marks of stored messages; return the ids that are up to date now. The others need a get."""
    # After a lost cursor, changes cannot be based on the stored labels.
    if state.listing in (Listing.RELIST, Listing.RELABEL):
        return set()
    applicable = {id_: listed for id_, listed in changes.labels.items() if id_ not in without}
    if not applicable:
        return set()
    return await message_labels.change(connection, turn.mailbox_id, applicable, mark_ids=turn.mark_ids)


async def _in_copy(
    connection: Connection, mailbox_id: int, external_ids: Set[str], changes: HistoryDelta, state: SyncProgress
) -> set[str]:
    """Return the messages that are, or will be, in the copy. Changes outside its coverage are ignored."""
    if state.covered_all or not external_ids:
        return set(external_ids)
    ids = list(external_ids)
    stored = await messages.versions(connection, mailbox_id, ids)
    queued = await fetch_queue.queued_ids(connection, mailbox_id, ids)
    # A message that left Spam or Trash counts as new: it may be among the newest.
    return set(external_ids) & (stored.keys() | queued | changes.added.keys() | changes.shown)
