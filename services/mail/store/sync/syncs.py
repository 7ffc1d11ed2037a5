"""Requested syncs, at most one active per mailbox."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from services.mail.model import DeadLetter, Sync, SyncReport, SyncState, Verification
from services.mail.store import labels
from services.mail.store.connection import Connection
from services.mail.store.control.mailboxes import mailbox_of

_SHOWN_DEAD_LETTERS = 100


COLUMNS = (
    *("mailbox_id", "sync_id", "state", "newest_count", "hint_seq", "listing_done", "listed_count", "stored_count"),
    *("units_spent", "error", "verification", "missing_count", "extra_count", "drift_count", "digest"),
    *("created_at", "progress_at", "ended_at"),
)
"""The columns that `sync_of` reads."""


def sync_of(row: Mapping[str, Any] | asyncpg.Record) -> Sync:
    """Return the sync of a row with at least COLUMNS."""
    return Sync(
        mailbox_id=row["mailbox_id"],
        sync_id=row["sync_id"],
        state=SyncState(row["state"]),
        newest_count=row["newest_count"],
        hint_seq=row["hint_seq"],
        listing_done=row["listing_done"],
        listed_count=row["listed_count"],
        stored_count=row["stored_count"],
        units_spent=row["units_spent"],
        error=row["error"],
        verification=None
        if row["verification"] is None
        else Verification(
            done=row["verification"] == "done",
            missing_count=row["missing_count"],
            extra_count=row["extra_count"],
            drift_count=row["drift_count"],
            digest=row["digest"],
        ),
        created_at=row["created_at"],
        progress_at=row["progress_at"],
        ended_at=row["ended_at"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The request behind a sync: its `traceparent`, and the seconds since the sync began."""

    trace_parent: str
    age: float


async def start(
    connection: Connection, mailbox_id: int, *, newest_count: int | None, hint_seq: int, trace_parent: str | None
) -> Sync:
    """Start a sync, or widen the active one; its coverage never shrinks."""
    row = await connection.fetchrow(
        """
        INSERT INTO syncs AS s (mailbox_id, state, newest_count, hint_seq, trace_parent)
        VALUES ($1, 'queued', $2, $3, $4)
        ON CONFLICT (mailbox_id) WHERE ended_at IS NULL DO UPDATE
        SET hint_seq = excluded.hint_seq,
            trace_parent = coalesce(excluded.trace_parent, s.trace_parent),
            newest_count = CASE WHEN s.newest_count IS NULL OR excluded.newest_count IS NULL THEN NULL
                           ELSE greatest(s.newest_count, excluded.newest_count) END,
            listing_done = s.listing_done
                AND (s.newest_count IS NULL OR coalesce(s.newest_count >= excluded.newest_count, false))
        RETURNING *
        """,
        mailbox_id,
        newest_count,
        hint_seq,
        trace_parent,
    )
    assert row is not None, "an upsert returns its row"  # noqa: S101 - states what the statement guarantees
    # One that joins the active sync is to show new names of labels, too.
    await labels.make_due(connection, mailbox_id)
    return sync_of(row)


async def forget_older(connection: Connection, mailbox_id: int, *, keep: int, limit: int) -> int:
    """Delete up to `limit` ended syncs of a mailbox, but none of the newest `keep`; return how many were deleted."""
    done = await connection.execute(
        """
        DELETE FROM syncs WHERE mailbox_id = $1 AND sync_id IN (
            SELECT sync_id FROM syncs WHERE mailbox_id = $1 AND ended_at IS NOT NULL
            ORDER BY sync_id DESC OFFSET $2 LIMIT $3
        )
        """,
        mailbox_id,
        keep,
        limit,
    )
    return int(done.removeprefix("DELETE "))


async def active(connection: Connection, mailbox_id: int) -> Sync | None:
    """Return the mailbox's active sync."""
    row = await connection.fetchrow("SELECT * FROM syncs WHERE mailbox_id = $1 AND ended_at IS NULL", mailbox_id)
    return None if row is None else sync_of(row)


async def active_id(connection: Connection, mailbox_id: int) -> int | None:
    """Return the id of the mailbox's active sync."""
    sync_id: int | None = await connection.fetchval(
        "SELECT sync_id FROM syncs WHERE mailbox_id = $1 AND ended_at IS NULL", mailbox_id
    )
    return sync_id


async def is_active(connection: Connection, user_id: UUID, mailbox_id: int, sync_id: int) -> bool:
    """Return whether this sync is active and the user's."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM syncs s JOIN mailboxes m USING (mailbox_id)
            WHERE s.mailbox_id = $1 AND s.sync_id = $2 AND m.user_id = $3 AND s.ended_at IS NULL
        )
        """,
        mailbox_id,
        sync_id,
        user_id,
    )
    return found


async def origin(connection: Connection, mailbox_id: int) -> Origin | None:
    """Return the traced request behind the mailbox's active sync."""
    row = await connection.fetchrow(
        """
        SELECT trace_parent, extract(epoch FROM now() - created_at)::float8 AS age FROM syncs
        WHERE mailbox_id = $1 AND ended_at IS NULL AND trace_parent IS NOT NULL
        """,
        mailbox_id,
    )
    return None if row is None else Origin(**row)


async def report(connection: Connection, user_id: UUID, mailbox_id: int, sync_id: int) -> SyncReport | None:
    """Return a sync of the user, with its pending messages and dead letters."""
    row = await connection.fetchrow(
        """
        SELECT s.*, m.account_id, m.user_id, m.provider, m.email, m.status,
            m.access_denied_reason, m.denials, m.limits_identity,
            CASE WHEN s.ended_at IS NULL
                THEN (SELECT count(*) FROM fetch_queue i WHERE i.mailbox_id = s.mailbox_id) ELSE 0 END AS pending,
            (SELECT count(*) FROM dead_letters d WHERE d.mailbox_id = s.mailbox_id) AS dead
        FROM syncs s JOIN mailboxes m USING (mailbox_id)
        WHERE s.mailbox_id = $1 AND s.sync_id = $2 AND m.user_id = $3
        """,
        mailbox_id,
        sync_id,
        user_id,
    )
    if row is None:
        return None
    letters = await connection.fetch(
        "SELECT external_id, reason, attempts FROM dead_letters WHERE mailbox_id = $1 ORDER BY died_at DESC LIMIT $2",
        mailbox_id,
        _SHOWN_DEAD_LETTERS,
    )
    return SyncReport(
        sync=sync_of(row),
        mailbox=mailbox_of(row),
        pending_count=row["pending"],
        dead_letter_count=row["dead"],
        dead_letters=[DeadLetter(**letter) for letter in letters],
    )


async def newest(connection: Connection, mailbox_id: int, *, before: int | None, limit: int) -> list[Sync]:
    """Return the mailbox's syncs, the newest first; those from before the sync `before` if it is given."""
    rows = await connection.fetch(
        """
        SELECT * FROM syncs WHERE mailbox_id = $1 AND ($2::bigint IS NULL OR sync_id < $2)
        ORDER BY sync_id DESC LIMIT $3
        """,
        mailbox_id,
        before,
        limit,
    )
    return [sync_of(row) for row in rows]


async def unfetched(connection: Connection, mailbox_id: int) -> tuple[int, int]:
    """Count the mailbox's pending messages and dead letters."""
    row = await connection.fetchrow(
        """
        SELECT (SELECT count(*) FROM fetch_queue WHERE mailbox_id = $1) AS pending,
            (SELECT count(*) FROM dead_letters WHERE mailbox_id = $1) AS dead
        """,
        mailbox_id,
    )
    assert row is not None, "a query of counts has a row"  # noqa: S101 - states what the statement guarantees
    return row["pending"], row["dead"]


async def set_running(connection: Connection, mailbox_id: int) -> None:
    """Record that a worker has started the active sync."""
    await connection.execute(
        """
        UPDATE syncs SET state = 'running', progress_at = now()
        WHERE mailbox_id = $1 AND ended_at IS NULL AND state = 'queued'
        """,
        mailbox_id,
    )


async def count(connection: Connection, mailbox_id: int, *, listed: int = 0, stored: int = 0, units: int = 0) -> None:
    """Add to the counts of the active sync."""
    await connection.execute(
        """
        UPDATE syncs SET listed_count = listed_count + $2, stored_count = stored_count + $3,
            units_spent = units_spent + $4,
            progress_at = CASE WHEN $2 > 0 OR $3 > 0 THEN now() ELSE progress_at END
        WHERE mailbox_id = $1 AND ended_at IS NULL
        """,
        mailbox_id,
        listed,
        stored,
        units,
    )


async def restart_count(connection: Connection, mailbox_id: int) -> None:
    """Reset the count of listed messages for a listing that starts again."""
    await connection.execute("UPDATE syncs SET listed_count = 0 WHERE mailbox_id = $1 AND ended_at IS NULL", mailbox_id)


async def set_listing_done(connection: Connection, mailbox_id: int, *, covered: int | None) -> None:
    """Record that the active sync's ids are queued, unless it wants more than `covered` (None for all)."""
    await connection.execute(
        """
        UPDATE syncs SET listing_done = true
        WHERE mailbox_id = $1 AND ended_at IS NULL AND ($2::int IS NULL OR newest_count <= $2)
        """,
        mailbox_id,
        covered,
    )


async def end(connection: Connection, mailbox_id: int, state: SyncState, *, error: str = "") -> int | None:
    """End the active sync; return its id."""
    sync_id: int | None = await connection.fetchval(
        """
        UPDATE syncs SET state = $2, error = $3, ended_at = now() WHERE mailbox_id = $1 AND ended_at IS NULL
        RETURNING sync_id
        """,
        mailbox_id,
        state.value,
        error,
    )
    return sync_id
