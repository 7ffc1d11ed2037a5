"""The leases of workers, by which one at a time has turns with a mailbox: claim, renew, fence, release.

They stand in the rows of the schedule, see schedule.py. Times are Postgres's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.mail.model import Lane, WaitReason
from services.mail.store.connection import Connection
from services.mail.store.control.schedule import IDLE_DUE_SECONDS

# Another worker than the holder of a mailbox's connection takes it so much later.
_HOLDERS_TIME = "interval '1 second'"
# No worker has a turn with the mailbox.
_FREE = "(lease_until IS NULL OR lease_until < now())"
# It is not kept for another worker than the holder $1.
_OPEN = f"""(held_until IS NULL OR held_until < now() OR held_by IS NOT DISTINCT FROM $1
    OR due_at < now() - {_HOLDERS_TIME})"""


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
        f"""
        WITH healthy AS (
            SELECT mailbox_id FROM mailbox_schedule
            WHERE lane = $3 AND due_at <= now() AND {_FREE} AND attempts = 0 AND {_OPEN}
            ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
        ), failing AS (
            SELECT mailbox_id FROM mailbox_schedule
            WHERE lane = $3 AND due_at <= now() AND {_FREE} AND attempts > 0 AND {_OPEN}
            ORDER BY due_at LIMIT least($5, $4 - (SELECT count(*) FROM healthy)) FOR UPDATE SKIP LOCKED
        ), due AS (
            SELECT mailbox_id FROM healthy UNION ALL SELECT mailbox_id FROM failing
        )
        UPDATE mailbox_schedule s
        SET lease_owner = $2, lease_until = now() + make_interval(secs => $6), lease_epoch = s.lease_epoch + 1,
            attempts = s.attempts + 1,
            due_at = CASE WHEN s.attempts = 0 THEN s.due_at
                     ELSE now() + make_interval(secs => least($7, power(2, least(s.attempts, 20)))) END
        FROM due WHERE s.mailbox_id = due.mailbox_id
        RETURNING s.mailbox_id, s.lease_epoch, s.hint_seq, s.attempts
        """,
        holder,
        owner,
        lane,
        limit,
        failing_limit,
        lease_seconds,
        backoff_limit,
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

    Without `failing`, mailboxes whose last turn failed are ignored. `holder` is as in `claim`: a due mailbox that is
    kept for another worker counts from when it is open to this one.
    """
    seconds: float | None = await connection.fetchval(
        f"""
        SELECT extract(epoch FROM min(open_at) - now())::float8
        FROM unnest($2::smallint[]) AS wanted(lane)
        CROSS JOIN LATERAL (
            (
                SELECT due_at AS open_at FROM mailbox_schedule s
                WHERE s.lane = wanted.lane AND {_FREE} AND ($3 OR attempts = 0) AND {_OPEN}
                ORDER BY due_at LIMIT 1
            ) UNION ALL (
                SELECT due_at + {_HOLDERS_TIME} FROM mailbox_schedule s
                WHERE s.lane = wanted.lane AND due_at <= now() AND {_FREE} AND ($3 OR attempts = 0) AND NOT {_OPEN}
                ORDER BY due_at LIMIT 1
            )
        ) next
        """,
        holder,
        list(lanes),
        failing,
    )
    return seconds


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
    connection: Connection,
    lease: Lease,
    *,
    after: float,
    waiting_for: WaitReason,
    error: str,
    is_attempt: bool = True,
) -> None:
    """End a failed turn. Keeps the attempts, so that `after` can grow; triggers do not shorten it.

    A turn that was no attempt, since it has called no one, does not count among them.
    """
    await connection.execute(
        """
        UPDATE mailbox_schedule
        SET lease_owner = NULL, lease_until = NULL, due_at = now() + make_interval(secs => $4),
            waiting_for = $5, last_error = $6, attempts = CASE WHEN $7 THEN attempts ELSE attempts - 1 END
        WHERE mailbox_id = $1 AND lease_owner = $2 AND lease_epoch = $3
        """,
        lease.mailbox_id,
        lease.owner,
        lease.epoch,
        after,
        waiting_for.value,
        error,
        is_attempt,
    )
