"""Label changes of stored messages."""

from collections.abc import Mapping, Sequence

from services.mail.marks import NEUTRAL_MARK_IDS, MarkIds
from services.mail.model import LabelChange
from services.mail.providers.label_ids import UNSEEN
from services.mail.store.changes import RECORD_COUNTED
from services.mail.store.connection import Connection
from services.mail.store.messages import UNIT_SEPARATOR, UNSEEN_IDS

_UNSEEN = frozenset(UNSEEN)


async def change(
    connection: Connection,
    mailbox_id: int,
    changes: Mapping[str, Sequence[LabelChange]],
    *,
    mark_ids: MarkIds = NEUTRAL_MARK_IDS,
) -> set[str]:
    """Apply label changes newer than the stored message, in order; return the ids of the messages they could apply to.

    Changes are not applied to messages that are missing, or wanted in a newer version (queued or dead letters): the
    stored labels of these are no base for them. `mark_ids` are those of the mailbox's provider.
    """
    rows = await connection.fetch(
        """
        SELECT m.external_id, m.version, m.label_ids FROM messages m
        WHERE m.mailbox_id = $1 AND m.external_id = ANY($2::text[])
            -- Its subquery runs once under any plan, also for a mailbox that statistics do not know.
            AND m.external_id NOT IN (
                SELECT external_id FROM fetch_queue WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
                UNION ALL SELECT external_id FROM dead_letters WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
            )
        FOR UPDATE OF m
        """,
        mailbox_id,
        list(changes),
    )
    updates = []
    for row in rows:
        version, labels = int(row["version"]), set(row["label_ids"])
        newer = [each for each in changes[row["external_id"]] if each.version > version]
        for each in newer:
            gained, lost = mark_ids.of_changes(marked=each.marked, unmarked=each.unmarked)
            labels = (labels | each.added | gained) - each.removed - lost
        if newer:
            was_unread = not _UNSEEN.isdisjoint(row["label_ids"])
            updates.append((row["external_id"], newer[-1].version, UNIT_SEPARATOR.join(sorted(labels)), was_unread))
    if updates:
        await connection.execute(
            f"""
            WITH changed AS (
                UPDATE messages m SET version = u.version, label_ids = string_to_array(u.label_ids, $6)
                FROM unnest($2::text[], $3::numeric[], $4::text[], $5::bool[])
                    AS u(external_id, version, label_ids, was_unread)
                WHERE m.mailbox_id = $1 AND m.external_id = u.external_id
                RETURNING m.message_id, NULL::text AS label_id, 'updated' AS kind, 0 AS messages,
                    (m.label_ids && {UNSEEN_IDS})::int - u.was_unread::int AS unread
            ), {RECORD_COUNTED}
            SELECT
            """,
            mailbox_id,
            *map(list, zip(*updates, strict=True)),
            UNIT_SEPARATOR,
        )
    return {row["external_id"] for row in rows}


async def take_off(connection: Connection, mailbox_id: int, label_id: str, *, limit: int) -> int:
    """Remove a label from up to `limit` messages; return from how many."""
    count: int = await connection.fetchval(
        f"""
        WITH changed AS (
            UPDATE messages SET label_ids = array_remove(label_ids, $2)
            WHERE mailbox_id = $1 AND message_id = ANY(ARRAY(
                SELECT message_id FROM messages WHERE mailbox_id = $1 AND label_ids @> ARRAY[$2] LIMIT $3))
            RETURNING message_id, NULL::text AS label_id, 'updated' AS kind, 0 AS messages,
                -($2 = ANY({UNSEEN_IDS}) AND NOT label_ids && {UNSEEN_IDS})::int AS unread
        ), {RECORD_COUNTED}
        SELECT count(*) FROM changed
        """,
        mailbox_id,
        label_id,
        limit,
    )
    return count
