"""Threads that are made from references: which ids they have, and which ones are merged."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.mail.store.changes import RECORD
from services.mail.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredThread:
    """A thread, and when its first reference was stored; None before that."""

    thread_id: str
    since: datetime | None


def kept_id(*, mailbox: str, thread: str) -> str:
    """Return the SQL of the id that the messages of a thread have: another one once all of them have moved.

    `mailbox` and `thread` are placeholders.
    """
    return f"""coalesce((
        SELECT kept_id FROM thread_merges WHERE mailbox_id = {mailbox} AND thread_id = {thread} AND is_moved
    ), {thread})"""


async def of_references(
    connection: Connection, mailbox_id: int, references: Sequence[bytes]
) -> dict[bytes, StoredThread]:
    """Return the threads of those references that are known; of a merged thread the kept one."""
    rows = await connection.fetch(
        """
        SELECT r.reference, coalesce(g.kept_id, r.thread_id) AS thread_id, coalesce(g.kept_since, r.since) AS since
        FROM thread_references r LEFT JOIN LATERAL (
            -- With a limit the planner looks threads up, and never joins all merges of all mailboxes.
            SELECT kept_id, kept_since FROM thread_merges WHERE mailbox_id = $1 AND thread_id = r.thread_id LIMIT 1
        ) g ON true
        WHERE r.mailbox_id = $1 AND r.reference = ANY($2::bytea[])
        """,
        mailbox_id,
        references,
    )
    return {row["reference"]: StoredThread(thread_id=row["thread_id"], since=row["since"]) for row in rows}


async def add_references(connection: Connection, mailbox_id: int, references: Mapping[bytes, StoredThread]) -> None:
    """Store new references with their threads. A new thread begins now."""
    await connection.execute(
        """
        INSERT INTO thread_references (mailbox_id, reference, thread_id, since)
        SELECT $1, g.reference, g.thread_id, coalesce(g.since, now())
        FROM unnest($2::bytea[], $3::text[], $4::timestamptz[]) AS g(reference, thread_id, since)
        """,
        mailbox_id,
        list(references),
        [thread.thread_id for thread in references.values()],
        [thread.since for thread in references.values()],
    )


async def sizes(
    connection: Connection, mailbox_id: int, thread_ids: Collection[str], *, limit: int
) -> Mapping[str, int]:
    """Return how many rows change when each of these threads is merged into another one; `limit` where there are more.

    They are its messages, and the threads that were merged into it.
    """
    rows = await connection.fetch(
        """
        SELECT t.thread_id, (
            SELECT count(*) FROM (
                SELECT FROM messages WHERE mailbox_id = $1 AND thread_id = t.thread_id
                UNION ALL SELECT FROM thread_merges WHERE mailbox_id = $1 AND kept_id = t.thread_id
                LIMIT $3
            ) changed
        ) AS size
        FROM unnest($2::text[]) AS t(thread_id)
        """,
        mailbox_id,
        list(thread_ids),
        limit,
    )
    return {row["thread_id"]: row["size"] for row in rows}


async def merge(connection: Connection, mailbox_id: int, merges: Mapping[str, StoredThread]) -> None:
    """Merge stored threads, by id, into kept ones, together with those that were merged into them before.

    Each merged thread so names the kept one directly, however many merges follow each other.
    """
    await connection.execute(
        """
        WITH given AS (
            SELECT * FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS g(thread_id, kept_id, kept_since)
        ), redirected AS (
            UPDATE thread_merges m SET kept_id = given.kept_id, kept_since = given.kept_since FROM given
            WHERE m.mailbox_id = $1 AND m.kept_id = given.thread_id
        )
        INSERT INTO thread_merges (mailbox_id, thread_id, kept_id, kept_since)
        SELECT $1, thread_id, kept_id, kept_since FROM given
        """,
        mailbox_id,
        list(merges),
        [thread.thread_id for thread in merges.values()],
        [thread.since for thread in merges.values()],
    )


async def move_some(connection: Connection, mailbox_id: int, *, limit: int) -> bool:
    """Move up to `limit` messages of a merged thread to the kept one; return whether a thread had any left to move."""
    found: bool = await connection.fetchval(
        f"""
        WITH merged AS (
            SELECT thread_id, kept_id FROM thread_merges WHERE mailbox_id = $1 AND NOT is_moved
            ORDER BY thread_id LIMIT 1
        ), left_over AS MATERIALIZED (
            SELECT message_id FROM messages
            WHERE mailbox_id = $1 AND thread_id = (SELECT thread_id FROM merged) LIMIT $2::bigint + 1
        ), changed AS (
            UPDATE messages SET thread_id = (SELECT kept_id FROM merged)
            WHERE mailbox_id = $1 AND message_id = ANY(ARRAY(SELECT message_id FROM left_over LIMIT $2))
            RETURNING message_id, NULL::text AS label_id, 'updated' AS kind
        ), {RECORD}, finished AS (
            UPDATE thread_merges SET is_moved = true
            WHERE mailbox_id = $1 AND thread_id = (SELECT thread_id FROM merged)
                AND (SELECT count(*) FROM left_over) <= $2
        )
        SELECT EXISTS (SELECT FROM merged)
        """,
        mailbox_id,
        limit,
    )
    return found
