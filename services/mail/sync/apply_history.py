"""The changes of a page of history: what they store, change, delete or queue."""

from collections.abc import Set

from services.mail.model import HistoryDelta, Listing, SyncProgress
from services.mail.store import message_labels, messages
from services.mail.store.connection import Connection
from services.mail.store.sync import fetch_queue, listing_diff, sync_state
from services.mail.sync.turn_context import TurnContext


def added_labels(changes: HistoryDelta) -> set[str]:
    """Return the labels that the changes add to messages."""
    return {label for listed in changes.labels.values() for change in listed for label in change.added}


async def apply_changes(connection: Connection, turn: TurnContext, changes: HistoryDelta, state: SyncProgress) -> None:
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
