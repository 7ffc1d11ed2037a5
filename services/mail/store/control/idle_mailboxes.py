"""Idle mailboxes: no work is known, and they are looked at for changes.

A look writes no mail, so it holds no lease: whatever becomes known meanwhile is worked on at once. One that finds
nothing writes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import asyncpg

from services.mail.model import Lane, Mailbox
from services.mail.store.connection import Connection
from services.mail.store.control.mailboxes import COLUMNS, mailbox_of
from services.mail.store.control.schedule import CHANNEL, DUE_NOW, HINTED, IDLE_DUE_SECONDS

# Seconds after an announcement for which history that does not show its change counts as lagging.
LONGEST_LAG = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The facts that decide how often an idle mailbox is looked at.

    `quiet_seconds` have passed since something new was known of. `is_announced` says that its provider announces
    changes, and that no look has found one since that was not announced. `needs_watch` asks for a turn.
    """

    mailbox_id: int
    quiet_seconds: float
    is_announced: bool
    needs_watch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleMailbox:
    """A mailbox to look at; `needs_turn` says that it has to be worked on whatever the look shows.

    `lags_for` are the seconds since an announcement of changes that its history has not shown yet; None without one.
    """

    mailbox: Mailbox
    cursor: int
    needs_turn: bool
    lags_for: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Announced:
    """An announcement of changes up to a history record, and the seconds since."""

    cursor: int
    ago: float


async def activities(
    connection: Connection, mailbox_ids: range, *, idle_for: float, pushed: Collection[str]
) -> list[Activity]:
    """Return the idle mailboxes among consecutive ids, idle for some seconds; `pushed` are providers with watches."""
    rows = await connection.fetch(
        """
        SELECT s.mailbox_id, extract(epoch FROM now() - s.active_at)::float8 AS quiet_seconds,
            coalesce(w.expires_at > now() AND s.announced_at > coalesce(s.missed_at, '-infinity'), false)
                AS is_announced,
            m.provider = ANY($4::text[]) AND coalesce(w.renew_at <= now(), true) AS needs_watch
        FROM mailbox_schedule s JOIN mailboxes m USING (mailbox_id) LEFT JOIN watches w USING (mailbox_id)
        WHERE s.mailbox_id BETWEEN $1 AND $2 AND s.lane = $3
            AND s.due_at <= now() + make_interval(secs => $5::float8 - $6::float8)
        """,
        mailbox_ids[0],
        mailbox_ids[-1],
        Lane.IDLE,
        list(pushed),
        IDLE_DUE_SECONDS,
        idle_for,
    )
    return [Activity(**row) for row in rows]


async def quiet_for(connection: Connection, mailbox_id: int) -> float:
    """Return the seconds since something new was known of a mailbox; 0 for one without a schedule."""
    seconds: float | None = await connection.fetchval(
        "SELECT extract(epoch FROM now() - active_at)::float8 FROM mailbox_schedule WHERE mailbox_id = $1", mailbox_id
    )
    return seconds or 0.0


async def claim(connection: Connection, *, limit: int, within_seconds: float | None) -> list[int]:
    """Take up to `limit` mailboxes that are due to be looked at by themselves, since at most so many seconds."""
    rows = await connection.fetch(
        """
        WITH due AS (
            SELECT mailbox_id FROM mailbox_schedule
            WHERE look_at BETWEEN coalesce(now() - make_interval(secs => $2), '-infinity') AND now()
            ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        UPDATE mailbox_schedule s SET look_at = NULL FROM due WHERE s.mailbox_id = due.mailbox_id
        RETURNING s.mailbox_id, s.lane
        """,
        limit,
        within_seconds,
    )
    return [row["mailbox_id"] for row in rows if row["lane"] == Lane.IDLE]


async def look_again(connection: Connection, mailbox_ids: Sequence[int], *, seconds: float) -> None:
    """Look at these by themselves in so many seconds, if they are idle then."""
    await connection.execute(
        """
        UPDATE mailbox_schedule SET look_at = least(look_at, now() + make_interval(secs => $2))
        WHERE mailbox_id = ANY($1::bigint[]) AND lane = $3
        """,
        mailbox_ids,
        seconds,
        Lane.IDLE,
    )


async def count(connection: Connection, provider: str) -> int:
    """Count the provider's mailboxes that are kept current."""
    found: int = await connection.fetchval(
        """
        SELECT count(*) FROM mailbox_schedule s JOIN mailboxes m USING (mailbox_id)
        WHERE m.provider = $1 AND m.status = 'active' AND m.user_id IS NOT NULL
        """,
        provider,
    )
    return found


async def load(connection: Connection, mailbox_ids: Sequence[int]) -> list[IdleMailbox]:
    """Return these mailboxes, as far as they are connected, for a look."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS}, c.cursor, c.cursor IS NULL OR coalesce(c.verify_at <= now(), false) AS needs_turn
        FROM mailboxes m JOIN sync_states c USING (mailbox_id)
        WHERE m.mailbox_id = ANY($1::bigint[]) AND m.user_id IS NOT NULL
        """,
        mailbox_ids,
    )
    announced = await _announced(connection, mailbox_ids)
    return [_idle_mailbox_of(row, announced.get(row["mailbox_id"])) for row in rows]


def _idle_mailbox_of(row: asyncpg.Record, announced: _Announced | None) -> IdleMailbox:
    cursor = int(row["cursor"] or 0)
    return IdleMailbox(
        mailbox=mailbox_of(row),
        cursor=cursor,
        needs_turn=row["needs_turn"],
        lags_for=announced.ago if announced is not None and announced.cursor > cursor else None,
    )


async def _announced(connection: Connection, mailbox_ids: Sequence[int]) -> dict[int, _Announced]:
    """Return the announcements that history may still lag behind."""
    rows = await connection.fetch(
        """
        SELECT mailbox_id, announced_cursor, extract(epoch FROM now() - announced_at)::float8 AS ago
        FROM mailbox_schedule
        WHERE mailbox_id = ANY($1::bigint[]) AND announced_cursor IS NOT NULL
            AND announced_at > now() - make_interval(secs => $2)
        """,
        mailbox_ids,
        LONGEST_LAG,
    )
    return {row["mailbox_id"]: _Announced(cursor=int(row["announced_cursor"]), ago=row["ago"]) for row in rows}


async def wake(
    connection: Connection, mailbox_ids: Collection[int], *, changed: bool = False, missed: bool = False
) -> None:
    """Make mailboxes due for a turn of their own: `changed` ones are active, `missed` changes were not announced.

    Nothing is missed that another worker knows of already.
    """
    await connection.execute(
        f"""
        WITH woken AS (
            SELECT mailbox_id FROM mailbox_schedule WHERE mailbox_id = ANY($1::bigint[])
            ORDER BY mailbox_id FOR UPDATE
        )
        UPDATE mailbox_schedule s
        SET due_at = {DUE_NOW}, lane = $2, {HINTED}, look_at = NULL,
            active_at = CASE WHEN $3 THEN now() ELSE s.active_at END,
            missed_at = CASE WHEN $4 AND s.lane = $5 THEN now() ELSE s.missed_at END
        FROM woken WHERE s.mailbox_id = woken.mailbox_id
        """,
        list(mailbox_ids),
        Lane.LIVE,
        changed,
        missed,
        Lane.IDLE,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")
