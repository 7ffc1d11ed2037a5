"""The queue of messages to fetch, and their dead letters."""

from collections.abc import Mapping, Sequence

from services.mail.model import FetchItem, Lane, ListedId
from services.mail.store.connection import Connection


async def queue_listed(connection: Connection, mailbox_id: int, listed: Sequence[ListedId], *, offset: int) -> int:
    """Queues listed ids that are neither stored nor queued, in the listing's order from `offset` on; how many.

    What was given up on is tried again, and so is what was gone when it was fetched.
    """
    done = await connection.execute(
        """
        INSERT INTO fetch_queue (mailbox_id, external_id, thread_id, lane, ordinal)
        SELECT $1, listed.id, min(listed.thread_id), $4, $5 + min(listed.place)
        FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS listed(id, thread_id, place)
        WHERE NOT EXISTS (SELECT FROM messages m WHERE m.mailbox_id = $1 AND m.external_id = listed.id)
        GROUP BY listed.id
        ON CONFLICT (mailbox_id, external_id) DO NOTHING
        """,
        mailbox_id,
        [entry.external_id for entry in listed],
        [entry.thread_id for entry in listed],
        Lane.BACKFILL,
        offset,
    )
    await clear_dead_letters(connection, mailbox_id)
    return int(done.split()[-1])


async def unknown(connection: Connection, mailbox_id: int, listed: Sequence[ListedId]) -> list[ListedId]:
    """Those of the listed messages that are not stored, queued, given up on, or gone when they were fetched."""
    rows = await connection.fetch(
        """
        SELECT id FROM unnest($2::text[]) AS listed(id)
        WHERE NOT EXISTS (SELECT FROM messages m WHERE m.mailbox_id = $1 AND m.external_id = listed.id)
            AND NOT EXISTS (SELECT FROM fetch_queue i WHERE i.mailbox_id = $1 AND i.external_id = listed.id)
            AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.mailbox_id = $1 AND d.external_id = listed.id)
            AND NOT EXISTS (
                SELECT FROM listed_ids g WHERE g.mailbox_id = $1 AND g.round = 0 AND g.external_id = listed.id)
        """,
        mailbox_id,
        [entry.external_id for entry in listed],
    )
    ids = {row["id"] for row in rows}
    return [entry for entry in listed if entry.external_id in ids]


async def queue_changed(
    connection: Connection, mailbox_id: int, wanted: Mapping[str, int], *, threads: Mapping[str, str]
) -> None:
    """Queues messages in the live lane in at least the given versions; newest records first."""
    if not wanted:
        return
    await connection.execute(
        """
        INSERT INTO fetch_queue AS i (mailbox_id, external_id, thread_id, lane, ordinal, wanted_version)
        SELECT $1, w.id, w.thread_id, $5, -row_number() OVER (ORDER BY w.version), w.version
        FROM unnest($2::text[], $3::numeric[], $4::text[]) AS w(id, version, thread_id)
        ON CONFLICT (mailbox_id, external_id) DO UPDATE
        SET wanted_version = greatest(i.wanted_version, excluded.wanted_version), lane = excluded.lane,
            ordinal = excluded.ordinal, not_before = '-infinity', attempts = 0, stale_gets = 0, doubted = false
        """,
        mailbox_id,
        list(wanted),
        list(wanted.values()),
        [threads.get(external_id) for external_id in wanted],
        Lane.LIVE,
    )
    await clear_dead_letters(connection, mailbox_id)


async def clear_dead_letters(connection: Connection, mailbox_id: int) -> None:
    """Forgets that messages were given up on that are queued again."""
    await connection.execute(
        """
        DELETE FROM dead_letters d USING fetch_queue i
        WHERE d.mailbox_id = $1 AND i.mailbox_id = $1 AND i.external_id = d.external_id
        """,
        mailbox_id,
    )


async def drop_backfill(connection: Connection, mailbox_id: int) -> None:
    """Forgets what only a listing for a sync wanted."""
    await connection.execute("DELETE FROM fetch_queue WHERE mailbox_id = $1 AND lane = $2", mailbox_id, Lane.BACKFILL)


async def retry_dead_letters(connection: Connection, mailbox_id: int) -> None:
    """Queues what was given up on; no cancelled sync drops it, since coverage counts on it."""
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
    """Which of these messages are queued."""
    rows = await connection.fetch(
        "SELECT external_id FROM fetch_queue WHERE mailbox_id = $1 AND external_id = ANY($2::text[])",
        mailbox_id,
        external_ids,
    )
    return {row["external_id"] for row in rows}


async def next_batch(connection: Connection, mailbox_id: int, limit: int) -> list[FetchItem]:
    """What to fetch next: the live lane first, then the listing's order."""
    rows = await connection.fetch(
        """
        SELECT i.external_id, i.thread_id, i.lane, i.doubted, s.siblings
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
        )
        for row in rows
    ]


async def seconds_until_next(connection: Connection, mailbox_id: int) -> float | None:
    """When the next item may be fetched, in seconds; None if nothing is queued."""
    seconds: float | None = await connection.fetchval(
        """
        SELECT CASE WHEN min(not_before) <= now() THEN 0 ELSE extract(epoch FROM min(not_before) - now()) END::float8
        FROM fetch_queue WHERE mailbox_id = $1
        """,
        mailbox_id,
    )
    return seconds


async def fetch_singly(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> None:
    """Forgets the threads of messages that a get of the thread did not bring."""
    await connection.execute(
        "UPDATE fetch_queue SET thread_id = NULL WHERE mailbox_id = $1 AND external_id = ANY($2::text[])",
        mailbox_id,
        external_ids,
    )


async def remove(connection: Connection, mailbox_id: int, external_ids: Sequence[str]) -> None:
    """Forgets messages that no longer exist at the provider, whether queued or given up on."""
    await connection.execute(
        "DELETE FROM fetch_queue WHERE mailbox_id = $1 AND external_id = ANY($2::text[])", mailbox_id, external_ids
    )
    await connection.execute(
        "DELETE FROM dead_letters WHERE mailbox_id = $1 AND external_id = ANY($2::text[])", mailbox_id, external_ids
    )


async def doubt(connection: Connection, mailbox_id: int, external_ids: Sequence[str], *, again_seconds: float) -> None:
    """Records that the provider does not have these messages, which a get of each alone has to confirm."""
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
    """Takes fetched messages off the queue; returns those that are taken though their version is too old.

    A version older than the wanted one, or than the stored one, is fetched again after each of the `pauses`, in
    seconds: the provider's store is eventually consistent. A version of None is one that cannot be compared.
    """
    rows = await connection.fetch(
        """
        WITH got AS (
            SELECT i.external_id, g.version < greatest(i.wanted_version, m.version) AS is_old,
                ($4::float8[])[i.stale_gets + 1] AS pause
            FROM unnest($2::text[], $3::numeric[]) AS g(external_id, version)
            JOIN fetch_queue i ON i.mailbox_id = $1 AND i.external_id = g.external_id
            LEFT JOIN messages m ON m.mailbox_id = $1 AND m.external_id = g.external_id
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
    """Counts a failed attempt per message: tried again after a growing delay, or buried as a dead letter."""
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
        UPDATE fetch_queue i SET attempts = i.attempts + 1,
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


async def cap_versions(connection: Connection, mailbox_id: int, version: int) -> None:
    """Wants no message, queued or given up on, in a newer version than this."""
    for table in ("fetch_queue", "dead_letters"):
        await connection.execute(
            f"UPDATE {table} SET wanted_version = $2 WHERE mailbox_id = $1 AND wanted_version > $2",
            mailbox_id,
            version,
        )


async def has_live(connection: Connection, mailbox_id: int) -> bool:
    """Whether new or changed messages wait, rather than old ones only."""
    live: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM fetch_queue WHERE mailbox_id = $1 AND lane = $2)", mailbox_id, Lane.LIVE
    )
    return live
