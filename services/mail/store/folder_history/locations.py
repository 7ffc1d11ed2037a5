"""Where the messages of a mailbox are: a row for each message in each folder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from services.mail.providers.folder_history.model import Location
from services.mail.providers.folder_history.port import Item, KeyRange
from services.mail.store.connection import Connection
from services.mail.store.folder_history.index_order import index_order

COLUMNS = "folder_id, generation, key, external_id, size, arrived_at, marks, gone_in"
PRESENT = """
    -- A limit keeps the planner from looking all messages up for each folder.
    CROSS JOIN LATERAL (
        SELECT FROM mail_folders f
        WHERE f.mailbox_id = $1 AND f.folder_id BETWEEN u.folder_id AND u.folder_id AND f.generation = u.generation
        ORDER BY f.folder_id LIMIT 1
    ) present
"""
"""In SQL: leaves out messages of `u` that are not of their folder's present generation."""
_SEPARATOR = "\x1f"


def location_of(row: asyncpg.Record) -> Location:
    """Return the location of a row with COLUMNS."""
    return Location(
        folder_id=row["folder_id"],
        generation=row["generation"],
        key=row["key"],
        external_id=row["external_id"],
        size=row["size"],
        arrived_at=row["arrived_at"],
        marks=frozenset(row["marks"]),
        gone_in=row["gone_in"],
    )


async def of_messages(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> list[Location]:
    """Return all locations of these messages, each of which is given once."""
    async with index_order(connection):
        rows = await connection.fetch(
            f"""
            SELECT {COLUMNS} FROM unnest($2::text[]) AS g(id) CROSS JOIN LATERAL (
                SELECT * FROM mail_locations l
                WHERE l.mailbox_id = $1 AND l.external_id BETWEEN g.id AND g.id ORDER BY l.external_id OFFSET 0
            ) found
            """,
            mailbox_id,
            external_ids,
        )
    return [location_of(row) for row in rows]


async def with_keys(
    connection: Connection, mailbox_id: int, folder_id: int, generation: int, keys: Sequence[str]
) -> dict[str, Location]:
    """Return the known messages of a folder among these keys."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM mail_locations
        WHERE mailbox_id = $1 AND folder_id = $2 AND generation = $3 AND key = ANY($4::text[])
        """,
        mailbox_id,
        folder_id,
        generation,
        keys,
    )
    return {row["key"]: location_of(row) for row in rows}


async def absent(
    connection: Connection,
    mailbox_id: int,
    folder_id: int,
    generation: int,
    keys: KeyRange,
    *,
    present: Sequence[str],
    limit: int,
) -> list[Location]:
    """Return known messages within a range of keys that are not among those present."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM mail_locations
        WHERE mailbox_id = $1 AND folder_id = $2 AND generation = $3 AND key BETWEEN $4 AND $5 AND gone_in IS NULL
            AND key NOT IN (SELECT unnest($6::text[])) ORDER BY key LIMIT $7
        """,
        mailbox_id,
        folder_id,
        generation,
        keys.first,
        keys.last,
        present,
        limit,
    )
    return [location_of(row) for row in rows]


async def unknown(
    connection: Connection, mailbox_id: int, folder_id: int, generation: int, present: Sequence[str], *, limit: int
) -> list[str]:
    """Return keys without a known message that is there."""
    rows = await connection.fetch(
        """
        SELECT p.key FROM unnest($4::text[]) AS p(key) WHERE NOT EXISTS (
            SELECT FROM mail_locations l WHERE l.mailbox_id = $1 AND l.folder_id = $2 AND l.generation = $3
                AND l.key = p.key AND l.gone_in IS NULL)
        ORDER BY p.key LIMIT $5
        """,
        mailbox_id,
        folder_id,
        generation,
        present,
        limit,
    )
    return [row["key"] for row in rows]


async def put(
    connection: Connection,
    mailbox_id: int,
    folder_id: int,
    generation: int,
    items: Sequence[Item],
    ids: Mapping[str, str],
) -> None:
    """Store messages that are in a folder, with their ids as far as `ids` has them by key; a known id stays."""
    await connection.execute(
        """
        INSERT INTO mail_locations AS l
            (mailbox_id, folder_id, generation, key, external_id, size, arrived_at, marks)
        SELECT $1, $2, $3, g.key, g.external_id, g.size, g.arrived_at, string_to_array(g.marks, $9)
        FROM unnest($4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::text[])
            AS g(key, external_id, size, arrived_at, marks)
        ON CONFLICT (mailbox_id, folder_id, generation, key) DO UPDATE
        SET marks = excluded.marks, external_id = coalesce(l.external_id, excluded.external_id), gone_in = NULL
        """,
        mailbox_id,
        folder_id,
        generation,
        [item.key for item in items],
        [ids.get(item.key) for item in items],
        [item.size for item in items],
        [item.arrived_at for item in items],
        [_SEPARATOR.join(sorted(item.marks)) for item in items],
        _SEPARATOR,
    )


async def mark_gone(
    connection: Connection, mailbox_id: int, folder_id: int, generation: int, keys: Sequence[str], *, pass_number: int
) -> None:
    """Mark messages of a folder as gone in this pass."""
    await connection.execute(
        """
        UPDATE mail_locations SET gone_in = $5
        WHERE mailbox_id = $1 AND folder_id = $2 AND generation = $3 AND key = ANY($4::text[]) AND gone_in IS NULL
        """,
        mailbox_id,
        folder_id,
        generation,
        keys,
        pass_number,
    )


async def of_earlier_generations(
    connection: Connection, mailbox_id: int, folder_id: int, generation: int, *, limit: int
) -> list[Location]:
    """Return messages of a folder from before this generation that are not marked as gone."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM mail_locations
        WHERE mailbox_id = $1 AND folder_id = $2 AND generation < $3 AND gone_in IS NULL
        ORDER BY generation, key LIMIT $4
        """,
        mailbox_id,
        folder_id,
        generation,
        limit,
    )
    return [location_of(row) for row in rows]


async def identified(
    connection: Connection, mailbox_id: int, folder_id: int, generation: int, *, limit: int
) -> list[Location]:
    """Return the last messages of a folder that have an id."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM mail_locations
        WHERE mailbox_id = $1 AND folder_id = $2 AND generation = $3 AND gone_in IS NULL AND external_id IS NOT NULL
        ORDER BY key DESC LIMIT $4
        """,
        mailbox_id,
        folder_id,
        generation,
        limit,
    )
    return [location_of(row) for row in rows]


async def nth_last(connection: Connection, mailbox_id: int, folder_id: int, generation: int, *, number: int) -> str:
    """Return the key from which on a folder has so many messages; an empty one if it has fewer."""
    key: str | None = await connection.fetchval(
        """
        SELECT key FROM mail_locations
        WHERE mailbox_id = $1 AND folder_id = $2 AND generation = $3 AND gone_in IS NULL
        ORDER BY key DESC OFFSET $4 LIMIT 1
        """,
        mailbox_id,
        folder_id,
        generation,
        number - 1,
    )
    return key or ""


@dataclass(frozen=True, slots=True)
class MarkedFolder:
    """The messages of a folder's generation whose marks are asked for, from key `first` on."""

    folder_id: int
    generation: int
    first: str = ""


async def by_mark(
    connection: Connection, mailbox_id: int, marked: Sequence[MarkedFolder], *, lacked: str
) -> dict[tuple[int, str], list[str]]:
    """Return the keys of messages that have a mark by folder and mark; for `lacked` of those that have it not."""
    async with index_order(connection):
        rows = await connection.fetch(
            """
            SELECT g.folder_id, m.mark, array_agg(l.key) AS keys
            FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS g(folder_id, generation, first)
            CROSS JOIN LATERAL (
                SELECT key, marks FROM mail_locations l
                WHERE l.mailbox_id = $1 AND l.folder_id = g.folder_id AND l.generation = g.generation
                    AND l.key >= g.first AND l.gone_in IS NULL
                ORDER BY l.key OFFSET 0
            ) l
            CROSS JOIN LATERAL unnest(
                CASE WHEN $5 = ANY(l.marks) THEN array_remove(l.marks, $5) ELSE l.marks || $5 END
            ) AS m(mark)
            GROUP BY g.folder_id, m.mark
            """,
            mailbox_id,
            [each.folder_id for each in marked],
            [each.generation for each in marked],
            [each.first for each in marked],
            lacked,
        )
    return {(row["folder_id"], row["mark"]): row["keys"] for row in rows}


async def unidentified(
    connection: Connection, mailbox_id: int, messages: Sequence[tuple[int, datetime]]
) -> dict[tuple[int, int], list[str]]:
    """Return the messages without an id of these sizes and arrivals: keys by folder and its present generation."""
    async with index_order(connection):
        rows = await connection.fetch(
            f"""
            SELECT u.folder_id, u.generation, u.key
            FROM unnest($2::bigint[], $3::timestamptz[]) AS w(size, arrived_at)
            CROSS JOIN LATERAL (
                SELECT * FROM mail_locations l
                WHERE l.mailbox_id = $1 AND l.external_id IS NULL AND l.gone_in IS NULL
                    AND l.size BETWEEN w.size AND w.size AND l.arrived_at = w.arrived_at
                ORDER BY l.size OFFSET 0
            ) u {PRESENT}
            """,
            mailbox_id,
            [size for size, _ in messages],
            [arrived_at for _, arrived_at in messages],
        )
    return keys_by_place(rows)


def keys_by_place(rows: Iterable[asyncpg.Record]) -> dict[tuple[int, int], list[str]]:
    """Return the keys in rows of folder, generation and key by the first two, in order."""
    found: dict[tuple[int, int], list[str]] = {}
    for folder_id, generation, key in sorted(tuple(row) for row in rows):
        found.setdefault((folder_id, generation), []).append(key)
    return found


async def set_ids(connection: Connection, mailbox_id: int, ids: Mapping[tuple[int, int, str], str]) -> None:
    """Give ids to messages that have none, by folder, generation and key."""
    await connection.execute(
        """
        UPDATE mail_locations l SET external_id = g.external_id
        FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[]) AS g(folder_id, generation, key, external_id)
        WHERE l.mailbox_id = $1 AND (l.folder_id, l.generation, l.key) = (g.folder_id, g.generation, g.key)
            AND l.external_id IS NULL
        """,
        mailbox_id,
        [folder_id for folder_id, _, _ in ids],
        [generation for _, generation, _ in ids],
        [key for _, _, key in ids],
        list(ids.values()),
    )


async def put_back(
    connection: Connection, mailbox_id: int, folder_id: int, generation: int, keys: Sequence[str]
) -> None:
    """Unmark messages that were marked as gone."""
    await connection.execute(
        """
        UPDATE mail_locations SET gone_in = NULL
        WHERE mailbox_id = $1 AND folder_id = $2 AND generation = $3 AND key = ANY($4::text[])
        """,
        mailbox_id,
        folder_id,
        generation,
        keys,
    )
