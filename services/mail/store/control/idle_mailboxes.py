"""Idle mailboxes: without known work, and checked for changes in groups.

An idle check writes no mail, so it holds no lease: new work can begin at any time.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from services.mail.model import Lane, Mailbox
from services.mail.store.connection import Connection
from services.mail.store.control.mailboxes import COLUMNS, mailbox_of
from services.mail.store.control.schedule import CHANNEL


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleMailbox:
    """A mailbox to check. With `needs_turn` it needs a turn in any case."""

    mailbox: Mailbox
    cursor: int
    needs_turn: bool


async def claim(
    connection: Connection, *, limit: int, poll_seconds: float, pushed: Collection[str]
) -> list[IdleMailbox]:
    """Claim up to `limit` due mailboxes; they are due again after about `poll_seconds`, slightly spread.

    `pushed` are the providers that announce changes, whose mailboxes need a watch.
    """
    rows = await connection.fetch(
        f"""
        WITH due AS (
            SELECT mailbox_id FROM mailbox_schedule WHERE lane = $1 AND due_at <= now()
            ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE mailbox_schedule s SET due_at = now() + make_interval(secs => $3 * (0.9 + 0.1 * random()))
            FROM due WHERE s.mailbox_id = due.mailbox_id RETURNING s.mailbox_id
        )
        SELECT {COLUMNS}, c.cursor,
            m.provider = ANY($4::text[]) AND coalesce(w.renew_at <= now(), true) OR c.cursor IS NULL
                OR coalesce(least(c.verify_at, c.labels_due_at) <= now(), false) AS needs_turn
        FROM taken JOIN mailboxes m USING (mailbox_id) JOIN sync_states c USING (mailbox_id)
        LEFT JOIN watches w USING (mailbox_id)
        """,
        Lane.IDLE,
        limit,
        poll_seconds,
        list(pushed),
    )
    return [
        IdleMailbox(mailbox=mailbox_of(row), cursor=int(row["cursor"] or 0), needs_turn=row["needs_turn"])
        for row in rows
    ]


async def confirm(connection: Connection, unchanged: Mapping[int, int], *, seconds_ago: float) -> None:
    """Record that these mailboxes were unchanged since the given cursors, `seconds_ago`."""
    await connection.execute(
        """
        UPDATE sync_states c
        SET caught_up_at = greatest(caught_up_at, now() - make_interval(secs => $3)),
            last_synced_at = greatest(last_synced_at, now() - make_interval(secs => $3))
        FROM unnest($1::bigint[], $2::numeric[]) AS u(mailbox_id, cursor)
        WHERE c.mailbox_id = u.mailbox_id AND c.cursor = u.cursor
        """,
        list(unchanged),
        list(unchanged.values()),
        seconds_ago,
    )


async def wake(connection: Connection, mailbox_ids: Collection[int]) -> None:
    """Make mailboxes due for a turn."""
    await connection.execute(
        """
        WITH woken AS (
            SELECT mailbox_id FROM mailbox_schedule WHERE mailbox_id = ANY($1::bigint[])
            ORDER BY mailbox_id FOR UPDATE
        )
        UPDATE mailbox_schedule s SET due_at = least(s.due_at, now()), lane = $2, hint_seq = s.hint_seq + 1
        FROM woken WHERE s.mailbox_id = woken.mailbox_id
        """,
        list(mailbox_ids),
        Lane.LIVE,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")
