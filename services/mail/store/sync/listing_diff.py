"""Comparison of a listing with the stored messages. Differences are queued, and a get of each message decides.

A provider's listings are eventually consistent, and an outage can cut them short, so they alone delete nothing.

A mailbox may hold a million messages, and a statement has 30 s, so the comparison is split into ranges of ids. It uses
NOT IN, whose subquery runs once under any plan: there are no statistics of rows just listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.mail.model import Lane
from services.mail.store.connection import Connection
from services.mail.store.sync import fetch_queue

# Upper bound of a range's listed messages, and of its stored ones.
RANGE_SIZE = 10_000
# Sort before and after every id in the database's order, which is that of code points.
_FIRST, _LAST = "", "\U0010ffff"


@dataclass(frozen=True, slots=True)
class IdRange:
    """The provider's ids from `start` up to, but without, `end`."""

    start: str
    end: str


async def note(
    connection: Connection,
    mailbox_id: int,
    external_ids: Sequence[str],
    *,
    round_: int,
    offset: int,
    label_id: str | None,
) -> int:
    """Record ids of a listing, or of a label's listing; return how many differ from the stored messages.

    An id differs if it is not stored or, in a label's listing, stored without the label.
    """
    found: int = await connection.fetchval(
        """
        WITH noted AS (
            INSERT INTO listed_ids (mailbox_id, round, external_id, ordinal)
            SELECT $1, $3, id, $4 + min(place) FROM unnest($2::text[]) WITH ORDINALITY AS listed(id, place) GROUP BY id
            ON CONFLICT DO NOTHING RETURNING external_id
        )
        SELECT count(*) FROM noted WHERE ($5::text IS NULL) <> (external_id IN (
            SELECT m.external_id FROM messages m
            WHERE m.mailbox_id = $1 AND m.external_id = ANY($2::text[])
                AND ($5::text IS NULL OR NOT m.label_ids @> ARRAY[$5])
        ))
        """,
        mailbox_id,
        external_ids,
        round_,
        offset,
        label_id,
    )
    return found


async def note_gone(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> None:
    """Record messages that were gone when fetched, if a listing is under way.

    A later pass may list them again: a provider's index can lag for long.
    """
    await connection.execute(
        """
        INSERT INTO listed_ids (mailbox_id, round, external_id, ordinal)
        SELECT $1, 0, id, 0 FROM sync_states s, unnest($2::text[]) AS gone(id)
        WHERE s.mailbox_id = $1 AND s.listing IS NOT NULL
        ON CONFLICT DO NOTHING
        """,
        mailbox_id,
        external_ids,
    )


async def forget(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> None:
    """Delete the records of listed messages that were deleted since."""
    await connection.execute(
        "DELETE FROM listed_ids WHERE mailbox_id = $1 AND round IN (1, 2) AND external_id = ANY($2::text[])",
        mailbox_id,
        external_ids,
    )


async def ranges(connection: Connection, mailbox_id: int, *, size: int = RANGE_SIZE) -> list[IdRange]:
    """Return ranges that cover all ids, each with about `size` listed or stored messages at most."""
    rows = await connection.fetch(
        """
        SELECT external_id FROM (
            SELECT external_id, row_number() OVER (ORDER BY external_id) AS place FROM messages WHERE mailbox_id = $1
        ) stored WHERE place % $2 = 0
        UNION
        SELECT external_id FROM (
            SELECT external_id, row_number() OVER (PARTITION BY round ORDER BY external_id) AS place
            FROM listed_ids WHERE mailbox_id = $1
        ) listed WHERE place % $2 = 0
        ORDER BY external_id
        """,
        mailbox_id,
        size,
    )
    return [IdRange(*ends) for ends in pairwise([_FIRST, *(row["external_id"] for row in rows), _LAST])]


async def count_stored(connection: Connection, mailbox_id: int) -> int:
    """Return the number of stored messages."""
    stored: int = await connection.fetchval("SELECT count(*) FROM messages WHERE mailbox_id = $1", mailbox_id)
    return stored


async def deepest_stored(connection: Connection, mailbox_id: int, ids: IdRange) -> int:
    """Return the highest ordinal of a listed message that is stored; 0 without any."""
    ordinal: int = await connection.fetchval(
        """
        SELECT coalesce(max(CASE WHEN r.external_id IN (
                SELECT m.external_id FROM messages m
                WHERE m.mailbox_id = $1 AND m.external_id >= $2 AND m.external_id < $3
            ) THEN r.ordinal END), 0)
        FROM listed_ids r
        WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $2 AND r.external_id < $3
        """,
        mailbox_id,
        ids.start,
        ids.end,
    )
    return ordinal


async def queue_missing(connection: Connection, mailbox_id: int, ids: IdRange, *, depth: int | None) -> int:
    """Queue listed messages up to ordinal `depth` (None for all) that are not stored; return how many."""
    queued: int = await connection.fetchval(
        f"""
        WITH queued AS (
            INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal)
            SELECT $1, r.external_id, $4, r.ordinal FROM listed_ids r
            WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $2 AND r.external_id < $3
                AND ($5::bigint IS NULL OR r.ordinal <= $5)
                AND r.external_id NOT IN (
                    SELECT m.external_id FROM messages m
                    WHERE m.mailbox_id = $1 AND m.external_id >= $2 AND m.external_id < $3
                )
            ON CONFLICT (mailbox_id, external_id) DO NOTHING
            RETURNING external_id
        ){fetch_queue.QUEUED}
        """,
        mailbox_id,
        ids.start,
        ids.end,
        Lane.LIVE,
        depth,
    )
    return queued


async def suspect_unlisted(connection: Connection, mailbox_id: int, ids: IdRange) -> int:
    """Queue stored messages and dead letters that were not listed; return how many.

    Skips messages that changed since the listing began: history has delivered these.
    """
    queued: int = await connection.fetchval(
        f"""
        WITH queued AS (
            INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal)
            SELECT $1, known.external_id, $4, 0 FROM (
                SELECT external_id, version FROM messages
                WHERE mailbox_id = $1 AND external_id >= $2 AND external_id < $3
                UNION SELECT external_id, wanted_version FROM dead_letters
                WHERE mailbox_id = $1 AND external_id >= $2 AND external_id < $3
            ) known, sync_states s
            WHERE s.mailbox_id = $1 AND (s.listing_floor IS NULL OR known.version <= s.listing_floor)
                AND known.external_id NOT IN (
                    SELECT r.external_id FROM listed_ids r
                    WHERE r.mailbox_id = $1 AND r.round IN (1, 2) AND r.external_id >= $2 AND r.external_id < $3
                )
            ON CONFLICT (mailbox_id, external_id) DO NOTHING
            RETURNING external_id
        ){fetch_queue.QUEUED}
        """,
        mailbox_id,
        ids.start,
        ids.end,
        Lane.LIVE,
    )
    return queued


async def suspect_mislabelled(connection: Connection, mailbox_id: int, label_id: str, ids: IdRange) -> int:
    """Queue messages whose label differs from its listing, in either direction; return how many.

    Skips messages that changed since the listing began: their state is newer.
    """
    queued: int = await connection.fetchval(
        f"""
        WITH queued AS (
            INSERT INTO fetch_queue (mailbox_id, external_id, thread_id, lane, ordinal)
            SELECT $1, m.external_id, m.thread_id, $3, 0 FROM messages m, sync_states s
            WHERE m.mailbox_id = $1 AND s.mailbox_id = $1 AND m.external_id >= $4 AND m.external_id < $5
                AND (s.listing_floor IS NULL OR m.version <= s.listing_floor)
                AND m.label_ids @> ARRAY[$2] <> (m.external_id IN (
                    SELECT r.external_id FROM listed_ids r
                    WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $4 AND r.external_id < $5))
            ON CONFLICT (mailbox_id, external_id) DO NOTHING
            RETURNING external_id
        ){fetch_queue.QUEUED}
        """,
        mailbox_id,
        label_id,
        Lane.LIVE,
        ids.start,
        ids.end,
    )
    return queued


async def is_carried(connection: Connection, mailbox_id: int, label_id: str) -> bool:
    """Return whether a stored message has this label."""
    carried: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM messages WHERE mailbox_id = $1 AND label_ids @> ARRAY[$2])", mailbox_id, label_id
    )
    return carried
