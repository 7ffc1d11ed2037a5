"""The labels of a mailbox, as the provider lists them."""

from collections.abc import Collection, Sequence

from services.mail.model import Label
from services.mail.read_model import CountedLabel
from services.mail.store import message_labels
from services.mail.store.changes import RECORD
from services.mail.store.connection import Connection


async def replace(connection: Connection, mailbox_id: int, labels: Sequence[Label]) -> None:
    """Replace the stored labels by the provider's, and take deleted labels off their messages.

    The provider's history need not contain these removals.
    """
    gone = await connection.fetch(
        f"""
        WITH changed AS (
            DELETE FROM labels WHERE mailbox_id = $1 AND NOT label_id = ANY($2::text[])
            RETURNING NULL::bigint AS message_id, label_id, 'deleted' AS kind
        ), {RECORD}
        SELECT label_id FROM changed
        """,
        mailbox_id,
        [label.label_id for label in labels],
    )
    for row in gone:
        await message_labels.take_off(connection, mailbox_id, row["label_id"])
    await connection.execute(
        f"""
        WITH changed AS (
            INSERT INTO labels AS l (mailbox_id, label_id, name, type)
            SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[])
            ON CONFLICT (mailbox_id, label_id) DO UPDATE SET name = excluded.name, type = excluded.type
            WHERE (l.name, l.type) IS DISTINCT FROM (excluded.name, excluded.type)
            RETURNING NULL::bigint AS message_id, label_id, 'updated' AS kind
        ), {RECORD}
        SELECT
        """,
        mailbox_id,
        [label.label_id for label in labels],
        [label.name for label in labels],
        [label.type for label in labels],
    )


async def of_mailbox(connection: Connection, mailbox_id: int) -> list[Label]:
    """Return the mailbox's labels by name."""
    rows = await connection.fetch(
        "SELECT label_id, name, type FROM labels WHERE mailbox_id = $1 ORDER BY lower(name), label_id", mailbox_id
    )
    return [Label(label_id=row["label_id"], name=row["name"], type=row["type"]) for row in rows]


async def unknown(connection: Connection, mailbox_id: int, label_ids: Collection[str]) -> set[str]:
    """Return the label ids that the mailbox does not have."""
    if not label_ids:
        return set()
    rows = await connection.fetch(
        """
        SELECT id FROM unnest($2::text[]) AS named(id)
        WHERE NOT EXISTS (SELECT FROM labels WHERE mailbox_id = $1 AND label_id = named.id)
        """,
        mailbox_id,
        list(label_ids),
    )
    return {row["id"] for row in rows}


async def counted(connection: Connection, mailbox_id: int) -> list[CountedLabel]:
    """Return the mailbox's labels by name, with the number of messages and unread messages of each."""
    rows = await connection.fetch(
        """
        SELECT l.label_id, l.name, l.type, coalesce(c.messages, 0)::bigint AS messages,
            coalesce(c.unread, 0)::bigint AS unread
        FROM labels l LEFT JOIN (
            -- There are far fewer combinations of labels than messages.
            SELECT label_id, sum(g.messages) AS messages, sum(g.messages) FILTER (WHERE 'UNREAD' = ANY(g.ids)) AS unread
            FROM (
                SELECT m.label_ids AS ids, count(*) AS messages FROM messages m WHERE m.mailbox_id = $1
                GROUP BY m.label_ids
            ) g, unnest(g.ids) AS label_id GROUP BY label_id
        ) c USING (label_id)
        WHERE l.mailbox_id = $1 ORDER BY lower(l.name), l.label_id
        """,
        mailbox_id,
    )
    return [
        CountedLabel(
            label=Label(label_id=row["label_id"], name=row["name"], type=row["type"]),
            message_count=row["messages"],
            unread_count=row["unread"],
        )
        for row in rows
    ]


async def names(connection: Connection, mailbox_id: int) -> dict[str, str]:
    """Return the mailbox's label names by id."""
    rows = await connection.fetch("SELECT label_id, name FROM labels WHERE mailbox_id = $1", mailbox_id)
    return {row["label_id"]: row["name"] for row in rows}
