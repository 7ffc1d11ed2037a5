"""The schedule of due mailboxes and the leases of workers: trigger, claim, renew, release. Times are Postgres's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

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
# Another worker than the holder of a mailbox's connection takes it so many seconds later.
_HOLDERS_SECONDS = 1.0
# One more hint. The time of the first one that is not read stays.
HINTED = "hint_seq = s.hint_seq + 1, hinted_at = coalesce(s.hinted_at, now())"


class LeaseLostError(Exception):
    """The lease is lost: another worker took over, or the mailbox was disconnected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write to a mailbox, until another claim raises the epoch."""

    mailbox_id: int
    owner: UUID
    epoch: int
    # The newest hint at the time of the claim.
    hint_seq: int
    # Claims since the last release, this one included.
    attempts: int


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


async def claim(
    connection: Connection,
    *,
    owner: UUID,
    lane: Lane,
    limit: int,
    failing_limit: int,
    lease_seconds: float,
    backoff_limit: float,
    holder: UUID | None = None,
) -> list[Lease]:
    """Claim up to `limit` due and free mailboxes; up to `failing_limit` of those whose last turn failed.

    Those whose connections another worker than `holder` holds are free a second later (control/holds.py).

    Each claim delays the due time by a back-off that grows with the claims since the last release, so that a mailbox
    that kills its worker does not do so again at once.
    """
    rows = await connection.fetch(
        """
        WITH healthy AS (
            SELECT mailbox_id FROM mailbox_schedule
            WHERE lane = $2 AND due_at <= now() AND (lease_until IS NULL OR lease_until < now()) AND attempts = 0
                AND (held_until IS NULL OR held_until < now() OR held_by = $7
                    OR due_at < now() - make_interval(secs => $8))
            ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
        ), failing AS (
            SELECT mailbox_id FROM mailbox_schedule
            WHERE lane = $2 AND due_at <= now() AND (lease_until IS NULL OR lease_until < now()) AND attempts > 0
                AND (held_until IS NULL OR held_until < now() OR held_by = $7
                    OR due_at < now() - make_interval(secs => $8))
            ORDER BY due_at LIMIT least($6, $3 - (SELECT count(*) FROM healthy)) FOR UPDATE SKIP LOCKED
        ), due AS (
            SELECT mailbox_id FROM healthy UNION ALL SELECT mailbox_id FROM failing
        )
        UPDATE mailbox_schedule s
        SET lease_owner = $1, lease_until = now() + make_interval(secs => $4), lease_epoch = s.lease_epoch + 1,
            attempts = s.attempts + 1,
            due_at = CASE WHEN s.attempts = 0 THEN s.due_at
                     ELSE now() + make_interval(secs => least($5, power(2, least(s.attempts, 20)))) END
        FROM due WHERE s.mailbox_id = due.mailbox_id
        RETURNING s.mailbox_id, s.lease_epoch, s.hint_seq, s.attempts
        """,
        owner,
        lane,
        limit,
        lease_seconds,
        backoff_limit,
        failing_limit,
        holder,
        _HOLDERS_SECONDS,
    )
    return [
        Lease(
            mailbox_id=row["mailbox_id"],
            owner=owner,
            epoch=row["lease_epoch"],
            hint_seq=row["hint_seq"],
            attempts=row["attempts"],
        )
        for row in rows
    ]


async def seconds_until_due(
    connection: Connection, lanes: Sequence[Lane], *, failing: bool, holder: UUID | None = None
) -> float | None:
    """Return the seconds until a free mailbox of these lanes is due, 0 or less if one is; None if none is scheduled.

    Without `failing`, mailboxes whose last turn failed are ignored. `holder` is as in `claim`.
    """
    seconds: float | None = await connection.fetchval(
        """
        SELECT extract(epoch FROM min(greatest(due_at, lease_until, free_at)) - now())::float8
        FROM unnest($1::smallint[]) AS wanted(lane)
        CROSS JOIN LATERAL (
            SELECT due_at, lease_until,
                CASE WHEN held_until > now() AND held_by IS DISTINCT FROM $3
                    THEN due_at + make_interval(secs => $4) END AS free_at
            FROM mailbox_schedule s
            WHERE s.lane = wanted.lane AND (lease_until IS NULL OR lease_until < now()) AND ($2 OR attempts = 0)
            ORDER BY due_at LIMIT 1
        ) next
        """,
        list(lanes),
        failing,
        holder,
        _HOLDERS_SECONDS,
    )
    return seconds


async def is_due(connection: Connection, mailbox_id: int) -> bool:
    """Return whether a turn with the mailbox is due or under way."""
    due: bool | None = await connection.fetchval(
        "SELECT due_at <= now() FROM mailbox_schedule WHERE mailbox_id = $1", mailbox_id
    )
    return bool(due)


async def fence(connection: Connection, lease: Lease) -> int:
    """Begin a worker's writing transaction; return the newest hint. Raises LeaseLostError.

    The shared lock delays a takeover until this transaction ends. Comparing epochs alone would let a stale transaction
    commit after the takeover.
    """
    hint_seq: int | None = await connection.fetchval(
        """
        SELECT hint_seq FROM mailbox_schedule
        WHERE mailbox_id = $1 AND lease_owner = $2 AND lease_epoch = $3 FOR SHARE
        """,
        lease.mailbox_id,
        lease.owner,
        lease.epoch,
    )
    if hint_seq is None:
        raise LeaseLostError
    return hint_seq


async def renew(connection: Connection, lease: Lease, *, lease_seconds: float) -> bool:
    """Extend the lease; return whether it is still held."""
    done = await connection.execute(
        """
        UPDATE mailbox_schedule SET lease_until = now() + make_interval(secs => $4)
        WHERE mailbox_id = $1 AND lease_owner = $2 AND lease_epoch = $3
        """,
        lease.mailbox_id,
        lease.owner,
        lease.epoch,
        lease_seconds,
    )
    return done == "UPDATE 1"


async def release(
    connection: Connection,
    lease: Lease,
    *,
    lane: Lane,
    after: float,
    waiting_for: WaitReason | None = None,
    error: str = "",
) -> None:
    """End a turn: due again in `after` seconds, or at once if a trigger came since the claim.

    An idle mailbox is checked with its group, and also by itself in `after` seconds unless that is infinite.
    """
    idle = lane is Lane.IDLE
    await connection.execute(
        """
        UPDATE mailbox_schedule
        SET lease_owner = NULL, lease_until = NULL, attempts = 0, waiting_for = $8, last_error = $10,
            lane = CASE WHEN hint_seq = $4 THEN $5::smallint ELSE $6::smallint END,
            due_at = now() + CASE WHEN hint_seq = $4 THEN make_interval(secs => $7) ELSE interval '0' END,
            look_at = CASE WHEN hint_seq = $4 THEN now() + make_interval(secs => $9) END,
            hinted_at = CASE WHEN hint_seq <> $4 THEN now() WHEN $5::smallint = $6::smallint THEN hinted_at END
        WHERE mailbox_id = $1 AND lease_owner = $2 AND lease_epoch = $3
        """,
        lease.mailbox_id,
        lease.owner,
        lease.epoch,
        lease.hint_seq,
        lane,
        Lane.LIVE,
        IDLE_DUE_SECONDS if idle else after,
        "" if waiting_for is None else waiting_for.value,
        after if idle and math.isfinite(after) else None,
        error,
    )


async def release_failed(
    connection: Connection, lease: Lease, *, after: float, waiting_for: WaitReason, error: str
) -> None:
    """End a failed turn. Keeps the attempts, so that `after` can grow; triggers do not shorten it."""
    await connection.execute(
        """
        UPDATE mailbox_schedule
        SET lease_owner = NULL, lease_until = NULL, due_at = now() + make_interval(secs => $4),
            waiting_for = $5, last_error = $6
        WHERE mailbox_id = $1 AND lease_owner = $2 AND lease_epoch = $3
        """,
        lease.mailbox_id,
        lease.owner,
        lease.epoch,
        after,
        waiting_for.value,
        error,
    )


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
