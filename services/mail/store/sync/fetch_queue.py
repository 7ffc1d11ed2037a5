"""The queue of messages to fetch, and the dead letters of those that failed.

Statements look ids up by NOT IN, whose subquery runs once under any plan: statistics do not know the mailbox of a first
sync, and a join with it could read all of it for each id.
"""

from collections.abc import Mapping, Sequence

from services.mail.model import FetchItem, Lane, ListedId
from services.mail.store.connection import Connection

QUEUED = """, cleared AS (
        DELETE FROM dead_letters d USING queued WHERE d.mailbox_id = $1 AND d.external_id = queued.external_id
    )
    SELECT count(*) FROM queued
"""
"""The end of a statement that queues messages of the mailbox $1 in its part `queued (external_id)`.

Deletes their dead letters, and returns how many were queued. Those that were queued before have none.
"""


async def queue_listed(connection: Connection, mailbox_id: int, listed: Sequence[ListedId], *, offset: int) -> int:
    """Queue listed ids that are neither stored nor queued, in listing order from `offset`; return how many.

    Dead letters and messages that were gone when fetched are queued again.
    """
    queued: int = await connection.fetchval(
        f"""
        WITH queued AS (
            INSERT INTO fetch_queue (mailbox_id, external_id, thread_id, lane, ordinal)
            SELECT $1, listed.id, min(listed.thread_id), $4, $5 + min(listed.place)
            FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS listed(id, thread_id, place)
            WHERE listed.id NOT IN (
                SELECT external_id FROM messages WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
            )
            GROUP BY listed.id
            ON CONFLICT (mailbox_id, external_id) DO NOTHING
            RETURNING external_id
        ){QUEUED}
        """,
        mailbox_id,
        [entry.external_id for entry in listed],
        [entry.thread_id for entry in listed],
        Lane.BACKFILL,
        offset,
    )
    return queued


async def unknown(connection: Connection, mailbox_id: int, listed: Sequence[ListedId]) -> list[ListedId]:
    """Return the listed messages that are not stored, queued, dead letters, or gone when fetched."""
    rows = await connection.fetch(
        """
        SELECT id FROM unnest($2::text[]) AS listed(id) WHERE id NOT IN (
            SELECT external_id FROM messages WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
            UNION ALL SELECT external_id FROM fetch_queue WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
            UNION ALL SELECT external_id FROM dead_letters WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
            UNION ALL SELECT external_id FROM listed_ids
            WHERE mailbox_id = $1 AND round = 0 AND external_id = ANY($2::text[])
        )
        """,
        mailbox_id,
        [entry.external_id for entry in listed],
    )
    ids = {row["id"] for row in rows}
    return [entry for entry in listed if entry.external_id in ids]


async def queue_changed(
    connection: Connection, mailbox_id: int, wanted: Mapping[str, int], *, threads: Mapping[str, str]
) -> None:
    """Queue messages in the live lane in at least the given versions, newest records first."""
    if not wanted:
        return
    await connection.execute(
        f"""
        WITH queued AS (
            INSERT INTO fetch_queue AS i (mailbox_id, external_id, thread_id, lane, ordinal, wanted_version)
            SELECT $1, w.id, w.thread_id, $5, -row_number() OVER (ORDER BY w.version), w.version
            FROM unnest($2::text[], $3::numeric[], $4::text[]) AS w(id, version, thread_id)
            ON CONFLICT (mailbox_id, external_id) DO UPDATE
            SET wanted_version = greatest(i.wanted_version, excluded.wanted_version), lane = excluded.lane,
                ordinal = excluded.ordinal, not_before = '-infinity', attempts = 0, stale_gets = 0, doubted = false
            RETURNING external_id
        ){QUEUED}
        """,
        mailbox_id,
        list(wanted),
        list(wanted.values()),
        [threads.get(external_id) for external_id in wanted],
        Lane.LIVE,
    )


async def drop_backfill(connection: Connection, mailbox_id: int) -> None:
    """Remove the messages that were queued by a listing of a sync only."""
    await connection.execute("DELETE FROM fetch_queue WHERE mailbox_id = $1 AND lane = $2", mailbox_id, Lane.BACKFILL)


async def retry_dead_letters(connection: Connection, mailbox_id: int) -> None:
    """Queue the dead letters in the live lane, so that no cancelled sync drops them: they count as covered."""
    await connection.execute(
        """
        WITH letters AS (DELETE FROM dead_letters WHERE mailbox_id = $1 RETURNING *)
        INSERT INTO fetch_queue (mailbox_id, external_id, lane, ordinal, wanted_version)
        SELECT $1, external_id, $2, row_number() OVER (ORDER BY died_at DESC), wanted_version FROM letters
        ON CONFLICT (mailbox_id, external_id) DO NOTHING
        """,
        mailbox_id,
        Lane.LIVE,
    )


async def queued_ids(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> set[str]:
    """Return the ids of the queued messages."""
    rows = await connection.fetch(
        "SELECT external_id FROM fetch_queue WHERE mailbox_id = $1 AND external_id = ANY($2::text[])",
        mailbox_id,
        external_ids,
    )
    return {row["external_id"] for row in rows}


async def next_batch(connection: Connection, mailbox_id: int, limit: int) -> list[FetchItem]:
    """Return the next messages to fetch: the live lane first, then in listing order."""
    rows = await connection.fetch(
        """
        SELECT i.external_id, i.thread_id, i.lane, i.doubted, i.attempts, i.completion_units, s.siblings
        FROM (
            SELECT * FROM fetch_queue
            WHERE mailbox_id = $1 AND not_before <= now() ORDER BY lane, ordinal LIMIT $2
        ) i
        CROSS JOIN LATERAL (
            SELECT array_agg(t.external_id) AS siblings FROM fetch_queue t
            WHERE t.mailbox_id = $1 AND t.thread_id = i.thread_id AND t.not_before <= now()
        ) s
        ORDER BY i.lane, i.ordinal
        """,
        mailbox_id,
        limit,
    )
    return [
        FetchItem(
            external_id=row["external_id"],
            thread_id=row["thread_id"],
            siblings=tuple(row["siblings"] or ()),
            lane=Lane(row["lane"]),
            is_doubted=row["doubted"],
            attempts=row["attempts"],
            completion_units=row["completion_units"],
        )
        for row in rows
    ]


async def seconds_until_next(connection: Connection, mailbox_id: int) -> float | None:
    """Return the seconds until the next message may be fetched; None if the queue is empty."""
    seconds: float | None = await connection.fetchval(
        """
        SELECT CASE WHEN min(not_before) <= now() THEN 0 ELSE extract(epoch FROM min(not_before) - now()) END::float8
        FROM fetch_queue WHERE mailbox_id = $1
        """,
        mailbox_id,
    )
    return seconds


async def fetch_singly(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> None:
    """Clear the threads of messages that a get of the thread did not return."""
    await connection.execute(
        "UPDATE fetch_queue SET thread_id = NULL WHERE mailbox_id = $1 AND external_id = ANY($2::text[])",
        mailbox_id,
        external_ids,
    )


async def expect_completion(connection: Connection, mailbox_id: int, units: Mapping[str, int]) -> None:
    """Record the units of the texts that gets of these messages delivered by reference."""
    await connection.execute(
        """
        UPDATE fetch_queue i SET completion_units = u.units
        FROM unnest($2::text[], $3::bigint[]) AS u(external_id, units)
        WHERE i.mailbox_id = $1 AND i.external_id = u.external_id
        """,
        mailbox_id,
        list(units),
        list(units.values()),
    )


async def remove(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> None:
    """Remove messages that no longer exist at the provider, including their dead letters."""
    await connection.execute(
        "DELETE FROM fetch_queue WHERE mailbox_id = $1 AND external_id = ANY($2::text[])", mailbox_id, external_ids
    )
    await connection.execute(
        "DELETE FROM dead_letters WHERE mailbox_id = $1 AND external_id = ANY($2::text[])", mailbox_id, external_ids
    )


async def doubt(connection: Connection, mailbox_id: int, external_ids: Sequence[str], *, again_seconds: float) -> None:
    """Record that the provider does not have these messages; a get of each alone must confirm it."""
    await connection.execute(
        """
        UPDATE fetch_queue SET doubted = true, thread_id = NULL, not_before = now() + make_interval(secs => $3)
        WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
        """,
        mailbox_id,
        external_ids,
        again_seconds,
    )


async def finish(
    connection: Connection, mailbox_id: int, fetched: Mapping[str, int | None], *, pauses: Sequence[float]
) -> list[str]:
    """Remove fetched messages from the queue; return those that were accepted in too old a version.

    A version older than the wanted or the stored one is fetched again after each of the `pauses`, in seconds: the
    provider's store is eventually consistent. None is a version that cannot be compared.
    """
    rows = await connection.fetch(
        """
        -- Each table is read once, before rows are compared: statistics are often those of an empty queue, or do not
        -- know the mailbox.
        WITH queued AS MATERIALIZED (
            SELECT external_id, wanted_version, stale_gets FROM fetch_queue
            WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
        ), stored AS MATERIALIZED (
            SELECT external_id, version FROM messages WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
        ), got AS MATERIALIZED (
            SELECT g.external_id, g.version < greatest(i.wanted_version, m.version) AS is_old,
                ($4::float8[])[i.stale_gets + 1] AS pause
            FROM unnest($2::text[], $3::numeric[]) AS g(external_id, version)
            LEFT JOIN queued i USING (external_id) LEFT JOIN stored m USING (external_id)
        ), late AS (
            UPDATE fetch_queue i SET stale_gets = i.stale_gets + 1, doubted = false,
                not_before = now() + make_interval(secs => got.pause)
            FROM got WHERE i.mailbox_id = $1 AND i.external_id = got.external_id AND is_old AND got.pause IS NOT NULL
        ), done AS (
            DELETE FROM fetch_queue i USING got
            WHERE i.mailbox_id = $1 AND i.external_id = got.external_id
                AND (is_old IS NOT TRUE OR got.pause IS NULL)
            RETURNING i.external_id, got.is_old
        )
        SELECT external_id FROM done WHERE is_old
        """,
        mailbox_id,
        list(fetched),
        list(fetched.values()),
        pauses,
    )
    return [row["external_id"] for row in rows]


async def postpone(
    connection: Connection, mailbox_id: int, reasons: Mapping[str, str], *, attempts_limit: int, base_seconds: float
) -> None:
    """Count a failed attempt per message: retry it alone after a growing delay, or make it a dead letter."""
    if not reasons:
        return
    await connection.execute(
        """
        WITH failed AS (SELECT * FROM unnest($2::text[], $3::text[]) AS f(external_id, reason)),
        buried AS (
            DELETE FROM fetch_queue i USING failed f
            WHERE i.mailbox_id = $1 AND i.external_id = f.external_id AND i.attempts + 1 >= $4
            RETURNING i.external_id, i.wanted_version, i.attempts + 1 AS attempts, f.reason
        ), letters AS (
            INSERT INTO dead_letters (mailbox_id, external_id, wanted_version, reason, attempts)
            SELECT $1, external_id, wanted_version, reason, attempts FROM buried
            ON CONFLICT (mailbox_id, external_id) DO UPDATE
            SET reason = excluded.reason, attempts = excluded.attempts, wanted_version = excluded.wanted_version,
                died_at = now()
        )
        UPDATE fetch_queue i SET attempts = i.attempts + 1, thread_id = NULL,
            not_before = now() + make_interval(secs => $5 * power(2, i.attempts))
        FROM failed f
        WHERE i.mailbox_id = $1 AND i.external_id = f.external_id AND i.attempts + 1 < $4
        """,
        mailbox_id,
        list(reasons),
        list(reasons.values()),
        attempts_limit,
        base_seconds,
    )


async def suspect(
    connection: Connection, mailbox_id: int, external_ids: Sequence[str], *, again_seconds: float = 0.0
) -> None:
    """Count one failed attempt, not more however often, so that these messages are fetched each by itself."""
    await connection.execute(
        """
        UPDATE fetch_queue SET attempts = greatest(attempts, 1), thread_id = NULL,
            not_before = greatest(not_before, now() + make_interval(secs => $3))
        WHERE mailbox_id = $1 AND external_id = ANY($2::text[])
        """,
        mailbox_id,
        external_ids,
        again_seconds,
    )


async def cap_versions(connection: Connection, mailbox_id: int, version: int) -> None:
    """Lower newer wanted versions, of queued messages and dead letters, to this one."""
    for table in ("fetch_queue", "dead_letters"):
        await connection.execute(
            f"UPDATE {table} SET wanted_version = $2 WHERE mailbox_id = $1 AND wanted_version > $2",
            mailbox_id,
            version,
        )


async def has_live(connection: Connection, mailbox_id: int) -> bool:
    """Return whether the live lane has messages."""
    live: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM fetch_queue WHERE mailbox_id = $1 AND lane = $2)", mailbox_id, Lane.LIVE
    )
    return live
