"""What a list of mailboxes shows: counts and times."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from services.mail.model import Lane, MailboxCounts, MailboxOverview, MailboxQuery, Reach
from services.mail.providers.label_ids import UNSEEN
from services.mail.store.connection import Connection
from services.mail.store.control.idle_groups import GROUP_SIZE
from services.mail.store.control.mailboxes import COLUMNS, REACHED, mailbox_of, reached


async def counts(connection: Connection, reach: Reach) -> MailboxCounts:
    """Count the mailboxes within reach by state."""
    row = await connection.fetchrow(
        f"""
        SELECT count(*) FILTER (WHERE m.status = 'reauth_required') AS reauth_required,
            count(*) FILTER (WHERE m.status <> 'reauth_required' AND m.access_denied_reason <> '') AS access_denied,
            count(*) FILTER (WHERE m.status <> 'reauth_required' AND m.access_denied_reason = '') AS active
        FROM mailboxes m WHERE m.user_id IS NOT NULL AND {REACHED}
        """,
        *reached(reach),
    )
    assert row is not None, "an aggregate returns a row"  # noqa: S101 - states what the statement guarantees
    return MailboxCounts(**row)


async def overviews(connection: Connection, query: MailboxQuery) -> list[MailboxOverview]:
    """Return mailboxes with counts, oldest first. Messages are counted where no writer has kept the counts."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS}, m.reconnect_by, s.last_synced_at, c.messages, c.unread, f.last_seq, c.is_new
        FROM mailboxes m
        LEFT JOIN sync_states s USING (mailbox_id)
        LEFT JOIN change_feeds f USING (mailbox_id)
        CROSS JOIN LATERAL (
            SELECT f.message_count AS messages, f.unread_count AS unread, false AS is_new
            WHERE f.counted_seq = f.last_seq
            UNION ALL
            SELECT count(*), count(*) FILTER (WHERE label_ids && $11), true
            FROM messages WHERE mailbox_id = m.mailbox_id AND (f.counted_seq = f.last_seq) IS NOT TRUE
            HAVING (f.counted_seq = f.last_seq) IS NOT TRUE
        ) c
        WHERE m.user_id IS NOT NULL AND ($1::uuid IS NULL OR m.user_id = $1)
            AND ($2::uuid IS NULL OR m.application_id = $2) AND ($3::uuid[] IS NULL OR m.account_id = ANY($3))
            AND ($4::uuid IS NULL OR m.account_id = $4) AND ($5::text IS NULL OR lower(m.email) = lower($5))
            AND ($6::text IS NULL OR m.provider = $6) AND ($7::text IS NULL OR m.status = $7)
            AND ($8::bool IS NULL OR (m.access_denied_reason <> '') = $8) AND m.mailbox_id > $9
        ORDER BY m.mailbox_id LIMIT $10
        """,
        query.user_id,
        *((None, None) if query.reach is None else reached(query.reach)),
        query.account_id,
        query.email or None,
        query.provider or None,
        None if query.status is None else query.status.value,
        query.is_denied,
        query.after,
        query.limit,
        UNSEEN,
    )
    if uncounted := [row for row in rows if row["is_new"] and row["last_seq"] is not None]:
        await _keep_counts(connection, uncounted)
    checked = await _checked_at(connection, [row["mailbox_id"] for row in rows])
    return [
        MailboxOverview(
            mailbox=mailbox_of(row),
            last_synced_at=_latest(row["last_synced_at"], checked.get(row["mailbox_id"])),
            message_count=row["messages"],
            unread_count=row["unread"],
            reconnect_by=row["reconnect_by"],
        )
        for row in rows
    ]


async def _keep_counts(connection: Connection, rows: Sequence[asyncpg.Record]) -> None:
    """Store what was counted, so that writers go on from there; where one is writing, the next reader does it."""
    await connection.executemany(
        """
        UPDATE change_feeds SET message_count = $3, unread_count = $4, counted_seq = $2
        WHERE mailbox_id = $1 AND last_seq = $2
            AND EXISTS (SELECT FROM change_feeds WHERE mailbox_id = $1 FOR UPDATE SKIP LOCKED)
        """,
        [[row[name] for name in ("mailbox_id", "last_seq", "messages", "unread")] for row in rows],
    )


async def _checked_at(connection: Connection, mailbox_ids: Sequence[int]) -> dict[int, datetime]:
    """Return when idle ones of these mailboxes were checked at the earliest, by id; a new group's are left out."""
    rows = await connection.fetch(
        """
        SELECT m.mailbox_id, g.all_seen_at
        FROM mailboxes m JOIN mailbox_schedule s USING (mailbox_id) JOIN idle_groups g ON g.group_id = s.mailbox_id / $3
        WHERE m.mailbox_id = ANY($1::bigint[]) AND s.lane = $2 AND g.all_seen_at > '-infinity'
        """,
        mailbox_ids,
        Lane.IDLE,
        GROUP_SIZE,
    )
    return {row["mailbox_id"]: row["all_seen_at"] for row in rows}


def _latest(synced_at: datetime | None, checked_at: datetime | None) -> datetime | None:
    """Return the later of both times; None for a mailbox that was never synced, whose checks mean nothing."""
    return max(synced_at, checked_at) if synced_at and checked_at else synced_at
