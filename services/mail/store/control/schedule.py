"""The schedule of due mailboxes: what makes one due, and what it waits for. Times are Postgres's."""

from services.mail.model import Lane, Wait, WaitReason
from services.mail.store.connection import Connection

# The channel on which workers listen. The payload of triggers is empty: the table has the due mailboxes. Any other one
# is the id of a mailbox whose sync was cancelled.
CHANNEL = "mailbox_due"
# Announcements within so many seconds are one burst: the furthest of them counts, in whatever order they arrive.
_BURST_SECONDS = 60.0
# A mailbox is due so many seconds after it has become idle. Only the release before this one, after a rollback, waits
# for that; here it says since when the mailbox is idle.
IDLE_DUE_SECONDS = 600.0
# Due now. An idle mailbox was not due before, whatever its row says.
DUE_NOW = f"CASE WHEN s.lane = {Lane.IDLE.value} THEN now() ELSE least(s.due_at, now()) END"
# One more hint. The time of the first one that is not read stays.
HINTED = "hint_seq = s.hint_seq + 1, hinted_at = coalesce(s.hinted_at, now())"


async def trigger(connection: Connection, mailbox_id: int) -> int:
    """Make the mailbox due now in the live lane; return the number of the hint.

    Locks the schedule row: call it before other writes to the mailbox in the transaction.
    """
    hint_seq: int = await connection.fetchval(
        f"""
        INSERT INTO mailbox_schedule AS s (mailbox_id, lane, due_at, hinted_at) VALUES ($1, $2, now(), now())
        ON CONFLICT (mailbox_id) DO UPDATE
        SET due_at = {DUE_NOW}, lane = excluded.lane, {HINTED}, look_at = NULL, active_at = now()
        RETURNING hint_seq
        """,
        mailbox_id,
        Lane.LIVE,
    )
    await connection.execute(f"NOTIFY {CHANNEL}")
    return hint_seq


async def announce_cancelled(connection: Connection, mailbox_id: int) -> None:
    """Tell the worker that has the mailbox, on commit, that its sync is cancelled."""
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(mailbox_id))


async def lock(connection: Connection, mailbox_id: int) -> None:
    """Wait for a worker's current write and prevent further ones until the transaction ends."""
    await connection.execute("SELECT FROM mailbox_schedule WHERE mailbox_id = $1 FOR UPDATE", mailbox_id)


async def hint(connection: Connection, *, provider: str, email: str, cursor: int | None, echo_seconds: float) -> int:
    """Make the synced mailboxes of this address due now; return how many.

    Mailboxes whose history is already read up to `cursor` are due after `echo_seconds`: the provider may drop
    notifications that follow others within them. An address names one account at a provider, which several applications
    can have connected: all of its mailboxes are due, also those that have not learned of a new address yet.
    """
    rows = await connection.fetch(
        f"""
        WITH named AS (
            SELECT s.mailbox_id, coalesce(c.cursor >= $3, false) AS known
            FROM mailboxes m JOIN mailbox_schedule s USING (mailbox_id) JOIN sync_states c USING (mailbox_id)
            WHERE (lower(m.email) = lower($2) OR m.former_emails @> ARRAY[lower($2)] AND NOT EXISTS (
                    SELECT FROM mailboxes o WHERE o.provider = $1 AND lower(o.email) = lower($2)
                ) OR m.provider_identity = ANY(ARRAY(
                    SELECT o.provider_identity FROM mailboxes o WHERE o.provider = $1 AND lower(o.email) = lower($2)
                )))
                AND m.provider = $1 AND m.status = 'active'
                AND m.access_denied_reason = ''
            ORDER BY s.mailbox_id FOR UPDATE OF s
        ), known AS (
            UPDATE mailbox_schedule s
            SET announced_at = now(),
                look_at = CASE WHEN s.lane = $5 THEN least(s.look_at, now() + make_interval(secs => $6)) END
            FROM named WHERE s.mailbox_id = named.mailbox_id AND named.known RETURNING s.lane = $5 AS hinted
        ), news AS (
            UPDATE mailbox_schedule s
            SET announced_at = now(), active_at = now(), due_at = {DUE_NOW}, lane = $4, look_at = NULL, {HINTED},
                announced_cursor = CASE WHEN s.announced_at > now() - make_interval(secs => $7)
                    THEN greatest(s.announced_cursor, $3) ELSE $3 END
            FROM named WHERE s.mailbox_id = named.mailbox_id AND NOT named.known RETURNING true AS hinted
        )
        SELECT hinted FROM known UNION ALL SELECT hinted FROM news
        """,
        provider,
        email,
        cursor,
        Lane.LIVE,
        Lane.IDLE,
        echo_seconds,
        _BURST_SECONDS,
    )
    hinted = [row for row in rows if row["hinted"]]
    if hinted:
        await connection.execute(f"NOTIFY {CHANNEL}")
    return len(hinted)


async def announce(connection: Connection, mailbox_id: int) -> None:
    """Make a mailbox due now, of which its provider has announced news to a connection that a worker holds."""
    hinted = await connection.execute(
        f"""
        UPDATE mailbox_schedule s
        SET announced_at = now(), active_at = now(), due_at = {DUE_NOW}, lane = $2, look_at = NULL, {HINTED}
        FROM mailboxes m
        WHERE s.mailbox_id = $1 AND m.mailbox_id = $1 AND m.status = 'active' AND m.access_denied_reason = ''
        """,
        mailbox_id,
        Lane.LIVE,
    )
    if hinted == "UPDATE 1":
        await connection.execute(f"NOTIFY {CHANNEL}")


async def is_due(connection: Connection, mailbox_id: int) -> bool:
    """Return whether a turn with the mailbox is due or under way."""
    due: bool | None = await connection.fetchval(
        "SELECT due_at <= now() FROM mailbox_schedule WHERE mailbox_id = $1", mailbox_id
    )
    return bool(due)


async def wait_of(connection: Connection, mailbox_id: int) -> Wait | None:
    """Return the reason and the end of the mailbox's wait; None while a worker has it or may claim it."""
    row = await connection.fetchrow(
        """
        SELECT waiting_for, last_error, due_at, lease_owner IS NULL AND due_at > now() AS waits
        FROM mailbox_schedule WHERE mailbox_id = $1
        """,
        mailbox_id,
    )
    if row is None:
        return None
    waits = row["waits"] and row["waiting_for"]
    return Wait(
        reason=WaitReason(row["waiting_for"]) if waits else None,
        until=row["due_at"] if waits else None,
        last_error=row["last_error"],
    )
