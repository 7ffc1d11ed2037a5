"""Catching up: everything that happened to a mailbox since the cursor, stored or queued before the cursor moves."""

import math
import time
from collections.abc import Set

import structlog

from services.mail.model import HistoryDelta, Label, Listing, SyncProgress
from services.mail.providers.base import (
    CursorLostError,
    HistoryPage,
    HistoryRestartedError,
    PageTokenExpiredError,
    ProviderUnavailableError,
    RouteMissingError,
)
from services.mail.store import labels, message_labels, messages
from services.mail.store.connection import Connection
from services.mail.store.control.schedule import LeaseLostError
from services.mail.store.sync import fetch_queue, sync_state
from services.mail.sync.turn_context import TurnContext

# Turns in a row that find no history before the provider is taken for one that keeps none.
_TURNS_WITHOUT_HISTORY = 3

log = structlog.get_logger()


async def catch_up(turn: TurnContext, state: SyncProgress, *, deadline: float = math.inf) -> bool:
    """Read history up to the present, or until `deadline` (of the monotonic clock); return whether the present was
    reached: the newest hint seen before has then been served.

    The cursor moves page by page, so that an interruption repeats one page at most.
    """
    hint = turn.newest_hint
    if state.cursor is None:
        await _begin(turn, state, previous=None, hint=hint)
        return True
    return await _read_pages(turn, state, state.cursor, hint=hint, deadline=deadline)


async def _begin_again(
    turn: TurnContext, state: SyncProgress, lost: CursorLostError | RouteMissingError, *, previous: int, hint: int
) -> None:
    log.warning("history cursor lost, comparing everything", mailbox_id=turn.mailbox_id, detail=lost.detail)
    restarted = isinstance(lost, HistoryRestartedError)
    await _begin(turn, state, previous=previous, hint=hint, restarted=restarted)


async def _begin(
    turn: TurnContext, state: SyncProgress, *, previous: int | None, hint: int, restarted: bool = False
) -> None:
    """Takes the present as the cursor BEFORE anything is listed; what was stored earlier has to be compared then."""
    cursor = await _present(turn)
    if restarted and previous is not None and (cursor is None or cursor >= previous):
        raise ProviderUnavailableError("history lags behind the profile")
    current = await turn.call(turn.provider.costs.labels, turn.provider.list_labels)
    async with turn.writing() as connection:
        if restarted and cursor is not None:
            # Numbers of the old history mean nothing beside those of the new one.
            await messages.cap_versions(connection, turn.mailbox_id, cursor)
            await fetch_queue.cap_versions(connection, turn.mailbox_id, cursor)
        await _move(connection, turn, previous=previous, cursor=cursor, caught_up_hint=hint)
        await _copy_labels(connection, turn, current)
        if state.caught_up_hint > 0:
            await sync_state.start_listing(connection, turn.mailbox_id, Listing.RELIST, target=None)


async def _present(turn: TurnContext) -> int | None:
    """The mailbox's cursor; where the provider does not tell, the newest message's version, which is older and safe."""
    provider = turn.provider
    profile = await turn.call(provider.costs.profile, provider.profile)
    if profile.cursor is not None:
        return profile.cursor
    newest = await turn.call(
        provider.costs.list_page,
        lambda token: provider.list_ids(token, page_token=None, page_size=1, include_spam_trash=True),
    )
    if not newest.listed:
        return None
    external_id = newest.listed[0].external_id
    return await turn.call(provider.costs.get, lambda token: provider.version(token, external_id))


async def _read_pages(turn: TurnContext, state: SyncProgress, cursor: int, *, hint: int, deadline: float) -> bool:
    start = position = bound = cursor
    page_token: str | None = None
    while True:
        try:
            page = await _read_page(turn, start, page_token)
        except (CursorLostError, RouteMissingError) as lost:
            if isinstance(lost, RouteMissingError) and turn.lease.attempts < _TURNS_WITHOUT_HISTORY:
                raise
            await _begin_again(turn, state, lost, previous=position, hint=hint)
            return True
        except PageTokenExpiredError:
            if start == position:
                # Nothing was gained since the last beginning, so another one would lead here again.
                raise
            start, page_token = position, None
            continue
        last = page.next_page_token is None
        if page_token is None:
            # What later pages call the present may be ahead of what they show.
            bound = page.latest
        reached = max(position, page.last_record or position, bound if last else position)
        await learn_labels(turn, _added_labels(page.changes))
        async with turn.writing() as connection:
            await _apply(connection, turn.mailbox_id, page.changes, state)
            await _move(connection, turn, previous=position, cursor=reached, caught_up_hint=hint if last else None)
        if last:
            return True
        position, page_token = reached, page.next_page_token
        if time.monotonic() > deadline:
            return False


async def _read_page(turn: TurnContext, cursor: int, page_token: str | None) -> HistoryPage:
    return await turn.call(
        turn.provider.costs.history_page,
        lambda token: turn.provider.list_changes(token, cursor=cursor, page_token=page_token),
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


async def _apply(connection: Connection, mailbox_id: int, changes: HistoryDelta, state: SyncProgress) -> None:
    """Stores or queues what a page implies."""
    if changes.deleted:
        gone = list(changes.deleted)
        await fetch_queue.remove(connection, mailbox_id, gone)
        await messages.delete(connection, mailbox_id, gone)
    wanted = dict(changes.added)
    for id_, version in (await _apply_labels(connection, mailbox_id, changes, state)).items():
        wanted[id_] = max(version, wanted.get(id_, version))
    stored = await messages.versions(connection, mailbox_id, list(wanted))
    missing = {id_: version for id_, version in wanted.items() if stored.get(id_, -1) < version}
    # Without numbers nothing can be compared, so the message is fetched whatever is stored.
    for id_ in await _in_copy(connection, mailbox_id, changes.unnumbered, changes, state):
        missing.setdefault(id_, 0)
    await fetch_queue.queue_changed(connection, mailbox_id, missing, threads=changes.threads)


async def _apply_labels(
    connection: Connection, mailbox_id: int, changes: HistoryDelta, state: SyncProgress
) -> dict[str, int]:
    """HistoryDelta the labels of stored messages; returns the messages that have to be fetched for their labels."""
    newest = {id_: listed[-1].version for id_, listed in changes.labels.items()}
    done: set[str] = set()
    # After a lost cursor stored labels are no base for changes, and a label's listing must not undo them.
    if newest and state.listing not in (Listing.RELIST, Listing.RELABEL):
        done = await message_labels.change(connection, mailbox_id, changes.labels)
    wanted = await _in_copy(connection, mailbox_id, newest.keys() - done, changes, state)
    return {id_: newest[id_] for id_ in wanted}


async def _in_copy(
    connection: Connection, mailbox_id: int, external_ids: Set[str], changes: HistoryDelta, state: SyncProgress
) -> set[str]:
    """Which of these messages are, or will be, in the copy. What is outside of its coverage is of no interest."""
    if state.covered_all or not external_ids:
        return set(external_ids)
    ids = list(external_ids)
    stored = await messages.versions(connection, mailbox_id, ids)
    queued = await fetch_queue.queued_ids(connection, mailbox_id, ids)
    return set(external_ids) & (stored.keys() | queued | changes.added.keys())


async def learn_labels(turn: TurnContext, named: Set[str]) -> None:
    """Copies the provider's labels if one of these is not known; creating a label does not show in history."""
    unsure = named - turn.known_labels
    if not unsure:
        return
    async with turn.reading() as connection:
        unknown = await labels.unknown(connection, turn.mailbox_id, unsure)
    turn.known_labels |= unsure - unknown
    if unknown:
        await refresh_labels(turn)


async def refresh_labels(turn: TurnContext) -> None:
    """Copies the provider's labels."""
    current = await turn.call(turn.provider.costs.labels, turn.provider.list_labels)
    async with turn.writing() as connection:
        await _copy_labels(connection, turn, current)
    turn.labels_are_fresh = True


async def _copy_labels(connection: Connection, turn: TurnContext, current: list[Label] | None) -> None:
    """Stores the provider's labels. One that lists none has those of every mailbox, and takes none away."""
    if current is not None:
        await labels.replace(connection, turn.mailbox_id, current)
    elif not await labels.of_mailbox(connection, turn.mailbox_id):
        await labels.replace(connection, turn.mailbox_id, turn.provider.built_in_labels)
