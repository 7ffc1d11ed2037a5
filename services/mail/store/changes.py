"""The feed of changes: what happened to the messages of a mailbox, numbered without gaps in the order of the commits.

A sequence of Postgres would not do: a transaction that took a number earlier may commit later, and a reader that asks
for what is above the last number it saw would never see that one. So whoever numbers changes holds the mailbox's
counter until the commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from uuid import UUID

from services.mail.read_model import MessageSummary
from services.mail.store.connection import Connection
from services.mail.store.reading.message_rows import SUMMARY, summary_of

KEPT = timedelta(days=30)

RECORD = f"""
    feed AS (
        INSERT INTO change_feeds AS f (mailbox_id, last_seq) SELECT $1, count(*) FROM changed HAVING count(*) > 0
        ON CONFLICT (mailbox_id) DO UPDATE SET last_seq = f.last_seq + excluded.last_seq
        RETURNING f.last_seq
    ), recorded AS (
        INSERT INTO message_changes (mailbox_id, seq, message_id, kind)
        SELECT $1, feed.last_seq + 1 - row_number() OVER (ORDER BY changed.message_id DESC), message_id, kind
        FROM changed, feed
    ), forgotten AS (
        -- Looks at no more than the oldest one where that is not old enough, however many there are.
        DELETE FROM message_changes WHERE mailbox_id = $1 AND changed_at < now() - interval '{KEPT.days} days'
            AND (SELECT changed_at FROM message_changes WHERE mailbox_id = $1 ORDER BY seq LIMIT 1)
                < now() - interval '{KEPT.days} days'
            AND seq = ANY(ARRAY(SELECT seq FROM message_changes WHERE mailbox_id = $1 ORDER BY seq LIMIT 500))
    )
"""
"""To be added to a statement that writes messages of the mailbox $1.

Numbers what its part `changed (message_id, kind)` holds, and forgets some of what is no longer kept. It is part of
the writing statement, so that no writer can forget it and none needs another round trip.
"""


class ChangeKind(Enum):
    """What happened to a message."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change; `message` is what the message is now, None if it no longer exists."""

    seq: int
    message_id: int
    kind: ChangeKind
    message: MessageSummary | None


async def position(connection: Connection, mailbox_id: int) -> int:
    """The number of the latest change; 0 if there is none."""
    seq: int | None = await connection.fetchval("SELECT last_seq FROM change_feeds WHERE mailbox_id = $1", mailbox_id)
    return seq or 0


async def positions(connection: Connection, mailbox_ids: Sequence[int]) -> dict[int, int]:
    """The numbers of the latest changes of several mailboxes; one without any is left out."""
    rows = await connection.fetch(
        "SELECT mailbox_id, last_seq FROM change_feeds WHERE mailbox_id = ANY($1::bigint[])", mailbox_ids
    )
    return {row["mailbox_id"]: row["last_seq"] for row in rows}


async def after(
    connection: Connection, user_id: UUID, mailbox_id: int, seq: int, *, limit: int, label_names: Mapping[str, str]
) -> list[Change]:
    """Up to `limit` changes of the user's mailbox after `seq`, oldest first; what is kept no longer is left out."""
    rows = await connection.fetch(
        f"""
        SELECT {SUMMARY}, c.seq, c.message_id AS changed_id, c.kind
        FROM message_changes c
        LEFT JOIN (messages m JOIN mailboxes b ON b.mailbox_id = m.mailbox_id)
            ON (m.mailbox_id, m.message_id) = (c.mailbox_id, c.message_id)
        WHERE EXISTS (SELECT FROM mailboxes WHERE mailbox_id = $1 AND user_id = $5)
            AND c.mailbox_id = $1 AND c.seq > $2 AND c.changed_at > now() - $4::interval
        ORDER BY c.seq LIMIT $3
        """,
        mailbox_id,
        seq,
        limit,
        KEPT,
        user_id,
    )
    return [
        Change(
            seq=row["seq"],
            message_id=row["changed_id"],
            kind=ChangeKind(row["kind"]),
            message=None if row["message_id"] is None else summary_of(row, label_names),
        )
        for row in rows
    ]
