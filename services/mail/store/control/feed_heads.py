"""The latest change of each mailbox's feed, where webhooks look for news: beside the endpoints, apart from the feeds.

A row is written after the changes that it tells of, so it can lag until the next turn of its mailbox.
"""

from dataclasses import dataclass
from datetime import datetime

from services.mail.store.connection import Connection

# The payload is the id of a mailbox.
CHANNEL = "feed_moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedHead:
    """The number of a feed's latest change. `disconnected_at` is that of a mailbox whose feed has ended."""

    seq: int
    incarnation: int
    disconnected_at: datetime | None


async def seq_of(connection: Connection, mailbox_id: int) -> int:
    """Return the number of the latest change that is known here; 0 if none is."""
    seq: int | None = await connection.fetchval("SELECT seq FROM feed_heads WHERE mailbox_id = $1", mailbox_id)
    return seq or 0


async def advance(connection: Connection, mailbox_id: int, *, seq: int, incarnation: int) -> None:
    """Record the latest change of a mailbox that is connected, and tell deliverers; an earlier one changes nothing.

    Locks the row: call it after all other writes of the transaction.
    """
    await connection.execute(
        f"""
        WITH moved AS (
            INSERT INTO feed_heads AS h (mailbox_id, account_id, application_id, seq, incarnation)
            SELECT mailbox_id, account_id, application_id, $2, $3 FROM mailboxes
            WHERE mailbox_id = $1 AND user_id IS NOT NULL
            ON CONFLICT (mailbox_id) DO UPDATE
            SET seq = excluded.seq, incarnation = excluded.incarnation, moved_at = now()
            WHERE h.seq < excluded.seq AND h.disconnected_at IS NULL
            RETURNING mailbox_id
        )
        SELECT pg_notify('{CHANNEL}', mailbox_id::text) FROM moved
        """,
        mailbox_id,
        seq,
        incarnation,
    )


async def end(connection: Connection, mailbox_id: int, *, seq: int, incarnation: int) -> None:
    """Record that the mailbox is disconnected, as the change `seq`, which its feed does not have."""
    await connection.execute(
        f"""
        WITH ended AS (
            INSERT INTO feed_heads AS h (mailbox_id, account_id, application_id, seq, incarnation, disconnected_at)
            SELECT mailbox_id, account_id, application_id, $2, $3, now() FROM disconnections WHERE mailbox_id = $1
            ON CONFLICT (mailbox_id) DO UPDATE
            SET seq = excluded.seq, incarnation = excluded.incarnation, moved_at = now(), disconnected_at = now()
            RETURNING mailbox_id
        )
        SELECT pg_notify('{CHANNEL}', mailbox_id::text) FROM ended
        """,
        mailbox_id,
        seq,
        incarnation,
    )


async def forget_ended(connection: Connection, *, days: int, limit: int) -> int:
    """Delete up to `limit` heads of mailboxes that were disconnected so long ago; return how many were deleted."""
    done = await connection.execute(
        """
        DELETE FROM feed_heads WHERE mailbox_id = ANY(ARRAY(
            SELECT mailbox_id FROM feed_heads WHERE disconnected_at < now() - make_interval(days => $1) LIMIT $2))
        """,
        days,
        limit,
    )
    return int(done.removeprefix("DELETE "))
