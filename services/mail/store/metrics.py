"""Metrics over all mailboxes, for operators."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from services.mail.model import Lane, WaitReason
from services.mail.store.connection import Connection
from services.mail.store.control.idle_groups import GROUP_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValues:
    """Counts, and ages in seconds. An age is 0 if there is nothing of its kind."""

    mailboxes_by_status: Mapping[str, int]
    due_by_lane: Mapping[Lane, int]
    oldest_due_by_lane: Mapping[Lane, float]
    oldest_hint_by_lane: Mapping[Lane, float]
    queued_by_lane: Mapping[Lane, int]
    dead_letters_by_reason: Mapping[str, int]
    syncs_by_state: Mapping[str, int]
    oldest_check: float
    expiring_watches: int
    next_watch_expiry: float | None


async def read(connection: Connection, *, expiring_seconds: float) -> MetricValues:
    """Read all values. A watch that ends within `expiring_seconds` counts as expiring.

    A mailbox whose access is denied is not late, and its watch need not be renewed.
    """
    due = await _due(connection)
    oldest = await _oldest(connection)
    watches = await _watches(connection, expiring_seconds=expiring_seconds)
    lanes = await _counts(connection, "SELECT lane, count(*) FROM fetch_queue GROUP BY lane")
    return MetricValues(
        mailboxes_by_status=await _counts(
            connection,
            """
            SELECT CASE WHEN user_id IS NULL THEN 'disconnected'
                        WHEN status = 'active' AND access_denied_reason <> '' THEN 'access_denied'
                        ELSE status END, count(*)
            FROM mailboxes GROUP BY 1
            """,
        ),
        due_by_lane={Lane(row["lane"]): row["count"] for row in due},
        oldest_due_by_lane={Lane(row["lane"]): row["age"] for row in due},
        oldest_hint_by_lane={Lane.LIVE: oldest["live_hint"] or 0.0, Lane.BACKFILL: oldest["backfill_hint"] or 0.0},
        queued_by_lane={Lane(int(lane)): count for lane, count in lanes.items()},
        dead_letters_by_reason=await _counts(connection, "SELECT reason, count(*) FROM dead_letters GROUP BY reason"),
        syncs_by_state=await _counts(
            connection, "SELECT state, count(*) FROM syncs WHERE ended_at IS NULL GROUP BY state"
        ),
        oldest_check=oldest["check"] or 0.0,
        expiring_watches=watches["expiring"],
        next_watch_expiry=watches["next"],
    )


async def _due(connection: Connection) -> list[asyncpg.Record]:
    """Count the mailboxes that are due, by lane, with the age of the oldest."""
    return await connection.fetch(
        """
        SELECT lane, count(*), extract(epoch FROM now() - min(due_at))::float8 AS age
        FROM (
            SELECT lane, due_at FROM mailbox_schedule
            WHERE lane <> $1 AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
                AND waiting_for <> $2
            UNION ALL
            SELECT lane, look_at FROM mailbox_schedule WHERE lane = $1 AND look_at <= now()
        ) due GROUP BY lane
        """,
        Lane.IDLE,
        WaitReason.ACCESS.value,
    )


async def _watches(connection: Connection, *, expiring_seconds: float) -> asyncpg.Record:
    """Count the watches that are expiring; return also when the next one ends."""
    row = await connection.fetchrow(
        """
        SELECT count(*) FILTER (WHERE w.expires_at < now() + make_interval(secs => $1)) AS expiring,
            extract(epoch FROM min(w.expires_at) - now())::float8 AS next
        FROM watches w JOIN mailboxes m USING (mailbox_id) WHERE m.status = 'active' AND m.access_denied_reason = ''
        """,
        expiring_seconds,
    )
    assert row is not None, "an aggregate has one row"  # noqa: S101 - states what the statement guarantees
    return row


async def _oldest(connection: Connection) -> asyncpg.Record:
    """Return the ages of the oldest look at a mailbox, and of the oldest hints that history was not read for.

    Unlike a due time, the time of a hint stays when a turn fails.
    """
    row = await connection.fetchrow(
        """
        SELECT extract(epoch FROM now() - min(greatest(c.caught_up_at, nullif(g.all_seen_at, '-infinity'))))::float8
                AS check,
            extract(epoch FROM now() - min(s.hinted_at)
                FILTER (WHERE s.lane = $4 AND s.hint_seq > c.caught_up_hint))::float8 AS live_hint,
            extract(epoch FROM now() - min(s.hinted_at)
                FILTER (WHERE s.lane = $5 AND s.hint_seq > c.caught_up_hint))::float8 AS backfill_hint
        FROM sync_states c JOIN mailboxes m USING (mailbox_id) JOIN mailbox_schedule s USING (mailbox_id)
        LEFT JOIN idle_groups g ON s.lane = $1 AND g.group_id = s.mailbox_id / $2
        WHERE m.status = 'active' AND m.access_denied_reason = '' AND m.user_id IS NOT NULL AND s.waiting_for <> $3
        """,
        Lane.IDLE,
        GROUP_SIZE,
        WaitReason.ACCESS.value,
        Lane.LIVE,
        Lane.BACKFILL,
    )
    assert row is not None, "an aggregate has one row"  # noqa: S101 - states what the statement guarantees
    return row


async def _counts(connection: Connection, query: str) -> dict[str, int]:
    return {str(key): count for key, count in await connection.fetch(query)}
