"""The labels of a mailbox, as the provider lists them."""

from collections.abc import Collection, Sequence

import asyncpg

from services.mail.model import Label, Role
from services.mail.providers.folder_history.model import FOLDER_LABELS
from services.mail.providers.label_ids import UNSEEN
from services.mail.read_model import CountedLabel
from services.mail.store import message_labels
from services.mail.store.changes import RECORD
from services.mail.store.connection import Connection

SYSTEM = "system"
"""The type of labels that the provider creates in every mailbox."""


async def record(connection: Connection, mailbox_id: int, listed: Sequence[Label], *, confirm_seconds: float) -> None:
    """Record the labels that the provider lists.

    A label is removed after two answers without it, at least `confirm_seconds` apart; then `take_off_some` takes it off
    its messages. An answer without any system label removes nothing.
    """
    ids = [label.label_id for label in listed]
    if any(label.type == SYSTEM for label in listed) or not await _has_system_labels(connection, mailbox_id):
        await _remove_missing(connection, mailbox_id, ids, confirm_seconds=confirm_seconds)
        await _mark_missing(connection, mailbox_id, ids)
    await _record_listed(connection, mailbox_id, listed)


async def is_any_back(connection: Connection, mailbox_id: int, listed: Sequence[Label]) -> bool:
    """Return whether a removed label is listed again. It may already be missing on some messages."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM labels WHERE mailbox_id = $1 AND removed_at IS NOT NULL AND label_id = ANY($2::text[]))
        """,
        mailbox_id,
        [label.label_id for label in listed],
    )
    return found


async def _has_system_labels(connection: Connection, mailbox_id: int) -> bool:
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM labels WHERE mailbox_id = $1 AND type = $2)", mailbox_id, SYSTEM
    )
    return found


async def _mark_missing(connection: Connection, mailbox_id: int, listed: Sequence[str]) -> None:
    await connection.execute(
        """
        UPDATE labels SET missing_since = CASE WHEN label_id = ANY($2::text[]) THEN NULL ELSE now() END
        WHERE mailbox_id = $1 AND removed_at IS NULL AND (missing_since IS NULL) <> (label_id = ANY($2::text[]))
        """,
        mailbox_id,
        listed,
    )


async def _remove_missing(
    connection: Connection, mailbox_id: int, listed: Sequence[str], *, confirm_seconds: float
) -> None:
    await connection.execute(
        f"""
        WITH changed AS (
            UPDATE labels SET removed_at = now()
            WHERE mailbox_id = $1 AND removed_at IS NULL AND NOT label_id = ANY($2::text[])
                AND missing_since <= now() - make_interval(secs => $3)
            RETURNING NULL::bigint AS message_id, label_id, 'deleted' AS kind
        ), {RECORD}
        SELECT
        """,
        mailbox_id,
        listed,
        confirm_seconds,
    )


async def _record_listed(connection: Connection, mailbox_id: int, listed: Sequence[Label]) -> None:
    await connection.execute(
        f"""
        WITH changed AS (
            INSERT INTO labels AS l (mailbox_id, label_id, name, type, role)
            SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
            ON CONFLICT (mailbox_id, label_id) DO UPDATE
            SET name = excluded.name, type = excluded.type, role = excluded.role, missing_since = NULL,
                removed_at = NULL
            WHERE (l.name, l.type, l.role) IS DISTINCT FROM (excluded.name, excluded.type, excluded.role)
                OR l.removed_at IS NOT NULL
            RETURNING NULL::bigint AS message_id, label_id, 'updated' AS kind
        ), {RECORD}
        SELECT
        """,
        mailbox_id,
        [label.label_id for label in listed],
        [label.name for label in listed],
        [label.type for label in listed],
        [label.role for label in listed],
    )


async def take_off_some(connection: Connection, mailbox_id: int, *, limit: int) -> bool:
    """Take a removed label off up to `limit` messages, and delete it after the last one; return whether there was one.

    The provider's history need not contain these removals.
    """
    label_id: str | None = await connection.fetchval(
        "SELECT label_id FROM labels WHERE mailbox_id = $1 AND removed_at IS NOT NULL ORDER BY label_id LIMIT 1",
        mailbox_id,
    )
    if label_id is None:
        return False
    if await message_labels.take_off(connection, mailbox_id, label_id, limit=limit) < limit:
        await connection.execute("DELETE FROM labels WHERE mailbox_id = $1 AND label_id = $2", mailbox_id, label_id)
    return True


async def is_any_removed(connection: Connection, mailbox_id: int) -> bool:
    """Return whether messages still carry a removed label."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM labels WHERE mailbox_id = $1 AND removed_at IS NOT NULL)", mailbox_id
    )
    return found


async def is_any_missing(connection: Connection, mailbox_id: int) -> bool:
    """Return whether the last answer lacked a label, so that another one has to decide."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM labels WHERE mailbox_id = $1 AND missing_since IS NOT NULL)", mailbox_id
    )
    return found


async def plan_next(connection: Connection, mailbox_id: int, *, every_seconds: float, confirm_seconds: float) -> None:
    """Schedule the next listing: now if a label is being removed, soon if one is missing, else in `every_seconds`."""
    await connection.execute(
        """
        UPDATE sync_states SET labels_due_at = now() + make_interval(secs => CASE
            WHEN EXISTS (SELECT FROM labels WHERE mailbox_id = $1 AND removed_at IS NOT NULL) THEN 0
            WHEN EXISTS (SELECT FROM labels WHERE mailbox_id = $1 AND missing_since IS NOT NULL)
            THEN least($2::float8, $3::float8) ELSE $2::float8 END)
        WHERE mailbox_id = $1
        """,
        mailbox_id,
        every_seconds,
        confirm_seconds,
    )


async def make_due(connection: Connection, mailbox_id: int) -> None:
    """Make the labels due now."""
    await postpone(connection, mailbox_id, seconds=0)


async def postpone(connection: Connection, mailbox_id: int, *, seconds: float) -> None:
    """Make the labels due in `seconds`."""
    await connection.execute(
        "UPDATE sync_states SET labels_due_at = now() + make_interval(secs => $2) WHERE mailbox_id = $1",
        mailbox_id,
        seconds,
    )


async def of_mailbox(connection: Connection, mailbox_id: int) -> list[Label]:
    """Return the mailbox's labels by name."""
    rows = await connection.fetch(
        """
        SELECT label_id, name, type, role FROM labels WHERE mailbox_id = $1 AND removed_at IS NULL
        ORDER BY lower(name), label_id
        """,
        mailbox_id,
    )
    return [label_of(row) for row in rows]


def label_of(row: asyncpg.Record) -> Label:
    """Return the label of a row with its columns."""
    return Label(label_id=row["label_id"], name=row["name"], type=row["type"], role=Role(row["role"]))


async def unknown(connection: Connection, mailbox_id: int, label_ids: Collection[str]) -> set[str]:
    """Return the label ids that the mailbox does not have, or that were removed: these may be back."""
    if not label_ids:
        return set()
    rows = await connection.fetch(
        """
        SELECT id FROM unnest($2::text[]) AS named(id)
        WHERE NOT EXISTS (
            SELECT FROM labels WHERE mailbox_id = $1 AND label_id = named.id AND removed_at IS NULL)
        """,
        mailbox_id,
        list(label_ids),
    )
    return {row["id"] for row in rows}


async def counted(connection: Connection, mailbox_id: int) -> list[CountedLabel]:
    """Return the mailbox's labels by name, with the number of messages and unread messages of each."""
    rows = await connection.fetch(
        f"""
        SELECT l.label_id, l.name, l.type, l.role, coalesce(c.messages, 0)::bigint AS messages,
            coalesce(c.unread, 0)::bigint AS unread, f.failing_since
        FROM labels l LEFT JOIN mail_folders f
            ON f.mailbox_id = $1 AND l.label_id = '{FOLDER_LABELS}' || f.folder_id AND NOT f.is_gone
        LEFT JOIN (
            -- There are far fewer combinations of labels than messages.
            SELECT label_id, sum(g.messages) AS messages, sum(g.messages) FILTER (WHERE g.ids && $2) AS unread
            FROM (
                SELECT m.label_ids AS ids, count(*) AS messages FROM messages m WHERE m.mailbox_id = $1
                GROUP BY m.label_ids
            ) g, unnest(g.ids) AS label_id GROUP BY label_id
        ) c USING (label_id)
        WHERE l.mailbox_id = $1 AND l.removed_at IS NULL ORDER BY lower(l.name), l.label_id
        """,
        mailbox_id,
        UNSEEN,
    )
    return [
        CountedLabel(
            label=label_of(row),
            message_count=row["messages"],
            unread_count=row["unread"],
            stale_since=row["failing_since"],
        )
        for row in rows
    ]


async def names(connection: Connection, mailbox_id: int) -> dict[str, str]:
    """Return label names by id, also of removed labels that messages still carry."""
    rows = await connection.fetch("SELECT label_id, name FROM labels WHERE mailbox_id = $1", mailbox_id)
    return {row["label_id"]: row["name"] for row in rows}
