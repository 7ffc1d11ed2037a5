"""Events of mailboxes and syncs, recorded in their feeds in the transactions that cause them."""

from services.mail.model import FeedEvent, MailboxStatus, SyncState
from services.mail.store import changes
from services.mail.store.connection import Connection
from services.mail.store.control import feed_heads, mailbox_access
from services.mail.store.control.mailboxes import AccessChange
from services.mail.store.sync import syncs

LISTING_INCOMPLETE = "listing_incomplete"
"""The error of a sync whose listing never became complete."""


async def record_access(connection: Connection, changed: AccessChange) -> None:
    """Record that a mailbox is connected, connected again, or out of reach."""
    mailbox = changed.mailbox
    if mailbox.status is MailboxStatus.REAUTH_REQUIRED:
        await changes.record_event(connection, mailbox.mailbox_id, FeedEvent.REAUTH_REQUIRED)
    elif mailbox.access_denied_reason:
        reason = {"reason": mailbox.access_denied_reason}
        await changes.record_event(connection, mailbox.mailbox_id, FeedEvent.ACCESS_DENIED, reason)
    else:
        again = {"again": not changed.is_new}
        await changes.record_event(connection, mailbox.mailbox_id, FeedEvent.MAILBOX_CONNECTED, again)


async def require_reauth(connection: Connection, mailbox_id: int) -> None:
    """Record that the user has to sign in again at the provider."""
    if await mailbox_access.set_status(connection, mailbox_id, MailboxStatus.REAUTH_REQUIRED):
        await changes.record_event(connection, mailbox_id, FeedEvent.REAUTH_REQUIRED)


async def deny_access(connection: Connection, mailbox_id: int, reason: str) -> None:
    """Record that the provider denies access lastingly."""
    if await mailbox_access.set_access_denied(connection, mailbox_id, reason):
        await changes.record_event(connection, mailbox_id, FeedEvent.ACCESS_DENIED, {"reason": reason})


async def grant_access(connection: Connection, mailbox_id: int) -> None:
    """Record that the provider grants access."""
    if await mailbox_access.set_granted(connection, mailbox_id):
        await changes.record_event(connection, mailbox_id, FeedEvent.MAILBOX_CONNECTED, {"again": True})


async def end_sync(connection: Connection, mailbox_id: int, state: SyncState, *, error: str = "") -> None:
    """End the active sync, if there is one. Webhooks tell of changes after the first that had access to the mail."""
    sync_id = await syncs.end(connection, mailbox_id, state, error=error)
    if sync_id is None:
        return
    if state is SyncState.FAILED:
        await changes.record_event(connection, mailbox_id, FeedEvent.SYNC_FAILED, {"sync_id": sync_id, "error": error})
    elif state is SyncState.COMPLETED:
        await changes.record_event(connection, mailbox_id, FeedEvent.SYNC_COMPLETED, {"sync_id": sync_id})
    if error in ("", LISTING_INCOMPLETE):
        await changes.go_live(connection, mailbox_id)


async def announce(connection: Connection, mailbox_id: int) -> int:
    """Let deliverers know of the changes that the feed has; return how many they did not know of.

    Call it after all other writes of a transaction.
    """
    latest = await changes.position(connection, mailbox_id)
    unknown = latest.seq - await feed_heads.seq_of(connection, mailbox_id)
    if unknown > 0:
        await feed_heads.advance(connection, mailbox_id, seq=latest.seq, incarnation=latest.incarnation)
    return max(0, unknown)
