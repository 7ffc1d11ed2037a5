"""Threads: the stored messages with the same thread id. There is no table for them."""

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from services.mail.content.model import Address
from services.mail.providers.label_ids import NOT_SHOWN, UNSEEN
from services.mail.read_model import MessageSummary, Position, Thread
from services.mail.store.connection import Connection
from services.mail.store.reading.message_rows import SUMMARY, summary_of
from services.mail.store.threads import kept_id

LONGEST_VIEW = 1_000
"""Messages shown of a thread."""

_UNSEEN = f"ARRAY{list(UNSEEN)}"
# The threads whose newest messages are in `heads`; each one costs a lookup in ix_messages_thread.
_THREADS = f"""
    SELECT h.message_id, h.received_at, h.thread_id, h.snippet, b.account_id, first.subject, facts.*, authors.*
    FROM heads h JOIN mailboxes b USING (mailbox_id)
    CROSS JOIN LATERAL (
        SELECT n.subject FROM messages n WHERE n.mailbox_id = h.mailbox_id AND n.thread_id = h.thread_id
        ORDER BY n.received_at, n.message_id LIMIT 1
    ) first
    CROSS JOIN LATERAL (
        SELECT count(*) AS message_count, count(*) FILTER (WHERE n.label_ids && {_UNSEEN}) AS unread_count,
            bool_or(n.has_attachments) AS has_attachments,
            array(
                SELECT DISTINCT label FROM messages l, unnest(l.label_ids) AS label
                WHERE l.mailbox_id = h.mailbox_id AND l.thread_id = h.thread_id
            ) AS label_ids
        FROM messages n WHERE n.mailbox_id = h.mailbox_id AND n.thread_id = h.thread_id
    ) facts
    CROSS JOIN LATERAL (
        SELECT array_agg(a.name ORDER BY a.since, a.email) AS author_names,
            array_agg(a.email ORDER BY a.since, a.email) AS author_emails
        FROM (
            SELECT min(n.received_at) AS since,
                (array_agg(n.from_email ORDER BY n.received_at, n.message_id))[1] AS email,
                coalesce(
                    (array_agg(n.from_name ORDER BY n.received_at) FILTER (WHERE n.from_name <> ''))[1], ''
                ) AS name
            FROM messages n
            WHERE n.mailbox_id = h.mailbox_id AND n.thread_id = h.thread_id AND n.from_email IS NOT NULL
            GROUP BY lower(n.from_email) ORDER BY since, email LIMIT 20
        ) a
    ) authors
    WHERE b.user_id = $2
    ORDER BY h.received_at DESC, h.message_id DESC
"""


async def newest_first(
    connection: Connection,
    user_id: UUID,
    mailbox_id: int,
    *,
    after: Position | None,
    limit: int,
    label_names: Mapping[str, str],
) -> list[Thread]:
    """Return up to `limit` threads of the user's mailbox whose newest messages come after `after` in the list."""
    rows = await connection.fetch(
        f"""
        WITH heads AS MATERIALIZED (
            SELECT m.* FROM messages m
            WHERE m.mailbox_id = $1
                AND (m.received_at, m.message_id) < (coalesce($3::timestamptz, 'infinity'), coalesce($4::bigint, 0))
                -- A subquery rather than NOT EXISTS: that would be a join with the whole mailbox.
                AND m.message_id = (
                    SELECT n.message_id FROM messages n WHERE n.mailbox_id = $1 AND n.thread_id = m.thread_id
                    ORDER BY n.received_at DESC, n.message_id DESC LIMIT 1
                )
            ORDER BY m.received_at DESC, m.message_id DESC LIMIT $5
        )
        {_THREADS}
        """,
        mailbox_id,
        user_id,
        after and after.received_at,
        after and after.message_id,
        limit,
    )
    return [_thread_of(row, label_names) for row in rows]


async def one(
    connection: Connection, user_id: UUID, mailbox_id: int, thread_id: str, *, label_names: Mapping[str, str]
) -> tuple[Thread, list[MessageSummary]] | None:
    """Return a thread of the user's mailbox with its newest messages, oldest first; None without such messages.

    The id of a merged thread finds the kept one.
    """
    row = await connection.fetchrow(
        f"""
        WITH heads AS MATERIALIZED (
            SELECT m.* FROM messages m
            WHERE m.mailbox_id = $1 AND m.thread_id = {kept_id(mailbox="$1", thread="$3")}
            ORDER BY m.received_at DESC, m.message_id DESC LIMIT 1
        )
        {_THREADS}
        """,
        mailbox_id,
        user_id,
        thread_id,
    )
    if row is None:
        return None
    messages = await connection.fetch(
        f"""
        SELECT {SUMMARY} FROM messages m JOIN mailboxes b USING (mailbox_id)
        WHERE m.mailbox_id = $1 AND m.thread_id = $2
        ORDER BY m.received_at DESC, m.message_id DESC LIMIT {LONGEST_VIEW}
        """,
        mailbox_id,
        row["thread_id"],
    )
    return _thread_of(row, label_names), [summary_of(message, label_names) for message in reversed(messages)]


def _thread_of(row: asyncpg.Record, label_names: Mapping[str, str]) -> Thread:
    return Thread(
        thread_id=row["thread_id"],
        account_id=row["account_id"],
        subject=row["subject"],
        snippet=row["snippet"],
        last_message_id=row["message_id"],
        last_message_at=row["received_at"],
        message_count=row["message_count"],
        unread_count=row["unread_count"],
        participants=[
            Address(name, email)
            for name, email in zip(row["author_names"] or (), row["author_emails"] or (), strict=True)
        ],
        labels=sorted(
            label_names.get(label_id, label_id) for label_id in row["label_ids"] if label_id not in NOT_SHOWN
        ),
        has_attachments=row["has_attachments"],
    )
