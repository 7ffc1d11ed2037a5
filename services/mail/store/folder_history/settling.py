"""What becomes of messages that no folder has any more, at the end of a pass."""

from collections.abc import Sequence

from services.mail.store.connection import Connection
from services.mail.store.folder_history.index_order import index_order
from services.mail.store.folder_history.locations import PRESENT, keys_by_place


async def drop_moved(connection: Connection, mailbox_id: int, *, limit: int) -> bool:
    """Delete some gone locations of messages that are elsewhere; return whether there may be more."""
    done = await connection.execute(
        """
        DELETE FROM mail_locations d WHERE d.mailbox_id = $1
            AND (d.folder_id, d.generation, d.key) IN (
                SELECT g.folder_id, g.generation, g.key FROM mail_locations g
                WHERE g.mailbox_id = $1 AND g.gone_in IS NOT NULL AND EXISTS (
                    SELECT FROM mail_locations l
                    WHERE l.mailbox_id = $1 AND l.external_id = g.external_id AND l.gone_in IS NULL)
                LIMIT $2)
        """,
        mailbox_id,
        limit,
    )
    return done == f"DELETE {limit}"


async def drop_unidentified(connection: Connection, mailbox_id: int, pass_number: int, *, limit: int) -> bool:
    """Delete some gone locations of messages without an id; return whether there may be more."""
    done = await connection.execute(
        """
        DELETE FROM mail_locations d WHERE d.mailbox_id = $1
            AND (d.folder_id, d.generation, d.key) IN (
                SELECT g.folder_id, g.generation, g.key FROM mail_locations g
                WHERE g.mailbox_id = $1 AND g.gone_in < $2 AND g.external_id IS NULL LIMIT $3)
        """,
        mailbox_id,
        pass_number,
        limit,
    )
    return done == f"DELETE {limit}"


async def lost(connection: Connection, mailbox_id: int, pass_number: int, *, limit: int) -> list[str]:
    """Return messages that this pass has found in no folder, and that were missing before it began."""
    rows = await connection.fetch(
        """
        SELECT g.external_id FROM mail_locations g
        WHERE g.mailbox_id = $1 AND g.gone_in IS NOT NULL AND g.external_id IS NOT NULL
        GROUP BY g.external_id HAVING max(g.gone_in) < $2 AND NOT EXISTS (
            SELECT FROM mail_locations l
            WHERE l.mailbox_id = $1 AND l.external_id = g.external_id AND l.gone_in IS NULL)
        ORDER BY g.external_id LIMIT $3
        """,
        mailbox_id,
        pass_number,
        limit,
    )
    return [row["external_id"] for row in rows]


async def unidentified_of_equal_size(
    connection: Connection, mailbox_id: int, external_ids: Sequence[str], *, folder_ids: Sequence[int], limit: int
) -> dict[tuple[int, int], list[str]]:
    """Return messages of these folders without an id that can be the given ones by their size.

    Keys by folder and its present generation.
    """
    async with index_order(connection):
        rows = await connection.fetch(
            f"""
            SELECT u.folder_id, u.generation, u.key FROM (
                SELECT DISTINCT known.size FROM unnest($2::text[]) AS lost(id) CROSS JOIN LATERAL (
                    SELECT l.size FROM mail_locations l
                    WHERE l.mailbox_id = $1 AND l.external_id BETWEEN lost.id AND lost.id
                    ORDER BY l.external_id OFFSET 0
                ) known
            ) w CROSS JOIN LATERAL (
                SELECT * FROM mail_locations l
                WHERE l.mailbox_id = $1 AND l.external_id IS NULL AND l.gone_in IS NULL
                    AND l.size BETWEEN w.size AND w.size
                ORDER BY l.size OFFSET 0
            ) u {PRESENT}
            WHERE u.folder_id = ANY($3::bigint[]) LIMIT $4
            """,
            mailbox_id,
            external_ids,
            folder_ids,
            limit,
        )
    return keys_by_place(rows)


async def delete(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> None:
    """Delete all locations of messages."""
    await connection.execute(
        "DELETE FROM mail_locations WHERE mailbox_id = $1 AND external_id = ANY($2::text[])", mailbox_id, external_ids
    )


async def losses(connection: Connection, mailbox_id: int, pass_number: int) -> dict[int, int]:
    """Return how many messages of each folder were missing before this pass and have no other place."""
    rows = await connection.fetch(
        """
        SELECT g.folder_id, count(*) AS n FROM mail_locations g
        WHERE g.mailbox_id = $1 AND g.gone_in < $2 AND g.external_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM mail_locations l
            WHERE l.mailbox_id = $1 AND l.external_id = g.external_id AND l.gone_in IS NULL)
        GROUP BY g.folder_id
        """,
        mailbox_id,
        pass_number,
    )
    return {row["folder_id"]: row["n"] for row in rows}
