"""The ids that a listing has shown, compared with what is stored. What differs is queued: a get decides what is true.

A provider's listings are eventually consistent, and an outage can make them short, so they alone delete nothing.

A mailbox may hold a million messages, and a statement has 30 s: what is compared is cut into ranges of ids. Within one
it is compared by NOT IN, whose subquery runs once whatever the planner knows: no statistics tell of rows just listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.mail.model import Lane
from services.mail.store.connection import Connection
from services.mail.store.sync import fetch_queue

# Messages in a range at most, of those listed and of those stored.
RANGE_SIZE = 10_000
# Before every id and after every id, in the order of code points, which is that of the database.
_FIRST, _LAST = "", "\U0010ffff"


@dataclass(frozen=True, slots=True)
class IdRange:
    """The provider's ids from `start` on and before `end`."""

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
    """Remembers ids that a listing, of a label if one is given, has shown; returns how many show a difference.

    Those are messages that are not stored or, listed by a label, stored without it.
    """
    found: int = await connection.fetchval(
        """
        WITH noted AS (
            INSERT INTO listed_ids (mailbox_id, round, external_id, ordinal)
            SELECT $1, $3, id, $4 + min(place) FROM unnest($2::text[]) WITH ORDINALITY AS listed(id, place) GROUP BY id
            ON CONFLICT DO NOTHING RETURNING external_id
        )
        SELECT count(*) FROM noted LEFT JOIN messages m ON m.mailbox_id = $1 AND m.external_id = noted.external_id
        WHERE CASE WHEN $5::text IS NULL THEN m.external_id IS NULL ELSE NOT m.label_ids @> ARRAY[$5] END
        """,
        mailbox_id,
        external_ids,
        round_,
        offset,
        label_id,
    )
    return found


async def note_gone(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> None:
    """Remembers, while a listing is under way, messages that were gone when they were fetched.

    A later pass may show them again: a provider's index can lag for long.
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
    """Forgets that a listing has shown messages, which were deleted since."""
    await connection.execute(
        "DELETE FROM listed_ids WHERE mailbox_id = $1 AND round IN (1, 2) AND external_id = ANY($2::text[])",
        mailbox_id,
        external_ids,
    )


async def ranges(connection: Connection, mailbox_id: int, *, size: int = RANGE_SIZE) -> list[IdRange]:
    """Ranges that together hold every id, each of them not many more than `size` listed or stored messages."""
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


async def deepest_stored(connection: Connection, mailbox_id: int) -> int:
    """How far down the listing the last stored message is; 0 if none was listed."""
    ordinal: int = await connection.fetchval(
        """
        SELECT coalesce(max(r.ordinal), 0) FROM listed_ids r JOIN messages m USING (mailbox_id, external_id)
        WHERE r.mailbox_id = $1 AND r.round = 1
        """,
        mailbox_id,
    )
    return ordinal


async def queue_missing(connection: Connection, mailbox_id: int, ids: IdRange, *, depth: int | None) -> int:
    """Queues what the first `depth` (None: all) of the listing hold and the store lacks; how many were not queued."""
    done = await connection.execute(
        """
        INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal)
        SELECT $1, r.external_id, $4, r.ordinal FROM listed_ids r
        WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $2 AND r.external_id < $3
            AND ($5::bigint IS NULL OR r.ordinal <= $5)
            AND r.external_id NOT IN (
                SELECT m.external_id FROM messages m
                WHERE m.mailbox_id = $1 AND m.external_id >= $2 AND m.external_id < $3
            )
        ON CONFLICT (mailbox_id, external_id) DO NOTHING
        """,
        mailbox_id,
        ids.start,
        ids.end,
        Lane.LIVE,
        depth,
    )
    return await _count_queued(connection, mailbox_id, done)


async def suspect_unlisted(connection: Connection, mailbox_id: int, ids: IdRange) -> int:
    """Queues messages, stored or given up on, that the listing has not shown; how many were not queued.

    Messages that changed since the listing began are left alone: history told of them.
    """
    done = await connection.execute(
        """
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
        """,
        mailbox_id,
        ids.start,
        ids.end,
        Lane.LIVE,
    )
    return await _count_queued(connection, mailbox_id, done)


async def suspect_mislabelled(connection: Connection, mailbox_id: int, label_id: str, ids: IdRange) -> int:
    """Queues messages that have a label which its listing does not show, or lack one that it does; how many.

    Messages that changed since the listing began are left alone: they are of a newer state.
    """
    done = await connection.execute(
        """
        INSERT INTO fetch_queue (mailbox_id, external_id, thread_id, lane, ordinal)
        SELECT $1, m.external_id, m.thread_id, $3, 0 FROM messages m, sync_states s
        WHERE m.mailbox_id = $1 AND s.mailbox_id = $1 AND m.external_id >= $4 AND m.external_id < $5
            AND (s.listing_floor IS NULL OR m.version <= s.listing_floor)
            AND m.label_ids @> ARRAY[$2] <> (m.external_id IN (
                SELECT r.external_id FROM listed_ids r
                WHERE r.mailbox_id = $1 AND r.round = 1 AND r.external_id >= $4 AND r.external_id < $5))
        ON CONFLICT (mailbox_id, external_id) DO NOTHING
        """,
        mailbox_id,
        label_id,
        Lane.LIVE,
        ids.start,
        ids.end,
    )
    return await _count_queued(connection, mailbox_id, done)


async def _count_queued(connection: Connection, mailbox_id: int, done: str) -> int:
    queued = int(done.split()[-1])
    if queued:
        await fetch_queue.clear_dead_letters(connection, mailbox_id)
    return queued


async def is_carried(connection: Connection, mailbox_id: int, label_id: str) -> bool:
    """Whether any stored message has this label."""
    carried: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM messages WHERE mailbox_id = $1 AND label_ids @> ARRAY[$2])", mailbox_id, label_id
    )
    return carried
