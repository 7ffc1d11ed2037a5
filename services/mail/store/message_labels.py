"""Putting labels on stored messages and taking them off."""

from collections.abc import Mapping, Sequence
from itertools import batched

from services.mail.model import LabelChange
from services.mail.store.changes import RECORD
from services.mail.store.connection import Connection
from services.mail.store.messages import UNIT_SEPARATOR
from services.mail.store.sync.listing_diff import IdRange

# A label can be on any number of messages, and a statement has 30 s.
_RELABELLED_AT_ONCE = 10_000


async def change(connection: Connection, mailbox_id: int, changes: Mapping[str, Sequence[LabelChange]]) -> set[str]:
    """Applies label changes that are newer than the stored message, in order; returns which messages are stored."""
    rows = await connection.fetch(
        """
        SELECT external_id, version, label_ids FROM messages
        WHERE mailbox_id = $1 AND external_id = ANY($2::text[]) FOR UPDATE
        """,
        mailbox_id,
        list(changes),
    )
    updates = []
    for row in rows:
        version, labels = int(row["version"]), set(row["label_ids"])
        newer = [each for each in changes[row["external_id"]] if each.version > version]
        for each in newer:
            labels = (labels | each.added) - each.removed
        if newer:
            updates.append((row["external_id"], newer[-1].version, UNIT_SEPARATOR.join(sorted(labels))))
    if updates:
        await connection.execute(
            f"""
            WITH changed AS (
                UPDATE messages m SET version = u.version, label_ids = string_to_array(u.label_ids, $5)
                FROM unnest($2::text[], $3::numeric[], $4::text[]) AS u(external_id, version, label_ids)
                WHERE m.mailbox_id = $1 AND m.external_id = u.external_id
                RETURNING m.message_id, NULL::text AS label_id, 'updated' AS kind
            ), {RECORD}
            SELECT
            """,
            mailbox_id,
            *map(list, zip(*updates, strict=True)),
            UNIT_SEPARATOR,
        )
    return {row["external_id"] for row in rows}


async def take_off(connection: Connection, mailbox_id: int, label_id: str) -> None:
    """Takes a label that no longer exists off all its messages."""
    carrying = await connection.fetch(
        "SELECT message_id FROM messages WHERE mailbox_id = $1 AND label_ids @> ARRAY[$2]", mailbox_id, label_id
    )
    for some in batched(carrying, _RELABELLED_AT_ONCE, strict=False):
        await connection.execute(
            f"""
            WITH changed AS (
                UPDATE messages SET label_ids = array_remove(label_ids, $2)
                WHERE mailbox_id = $1 AND message_id = ANY($3::bigint[])
                RETURNING message_id, NULL::text AS label_id, 'updated' AS kind
            ), {RECORD}
            SELECT
            """,
            mailbox_id,
            label_id,
            [row["message_id"] for row in some],
        )


async def set_as_listed(connection: Connection, mailbox_id: int, label_id: str, ids: IdRange) -> None:
    """Puts a label on exactly those messages of a range that the label's listing showed (the `listed_ids` table).

    Messages that changed since the listing began are left alone: they were fetched, or will be.
    """
    await connection.execute(
        f"""
        WITH changed AS (
            UPDATE messages m SET label_ids = array_append(label_ids, $2)
            FROM sync_states s
            WHERE s.mailbox_id = $1 AND (s.listing_floor IS NULL OR m.version <= s.listing_floor)
                AND m.mailbox_id = $1 AND m.external_id >= $3 AND m.external_id < $4
                AND NOT m.label_ids @> ARRAY[$2] AND m.external_id = ANY(ARRAY(
                    SELECT r.external_id FROM listed_ids r
                    WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $3 AND r.external_id < $4
                ))
            RETURNING m.message_id, NULL::text AS label_id, 'updated' AS kind
        ), {RECORD}
        SELECT
        """,
        mailbox_id,
        label_id,
        ids.start,
        ids.end,
    )
    await connection.execute(
        f"""
        WITH changed AS (
            UPDATE messages m SET label_ids = array_remove(label_ids, $2)
            FROM sync_states s
            WHERE s.mailbox_id = $1 AND (s.listing_floor IS NULL OR m.version <= s.listing_floor)
                AND m.mailbox_id = $1 AND m.external_id >= $3 AND m.external_id < $4
                AND m.label_ids @> ARRAY[$2] AND m.external_id NOT IN (
                    SELECT r.external_id FROM listed_ids r
                    WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $3 AND r.external_id < $4
                )
            RETURNING m.message_id, NULL::text AS label_id, 'updated' AS kind
        ), {RECORD}
        SELECT
        """,
        mailbox_id,
        label_id,
        ids.start,
        ids.end,
    )
