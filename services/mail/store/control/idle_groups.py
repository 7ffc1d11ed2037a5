"""Groups of mailboxes with consecutive ids, whose idle ones are looked at together, round by round.

A round lasts as long as the shortest interval between two looks. The row of a group says until when all looks are done,
so that looks at unchanged mailboxes write nothing else: neither their number nor a snapshot that is held open makes the
next claim slower. Groups begin their rounds at different times.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.mail.store.connection import Connection

GROUP_SIZE = 512
# Multiples of the golden ratio, modulo 1, lie evenly however many there are.
_SPREAD = 0.618034
# A lease that ends later than any claim makes it is from before the clock was set back.
_LONGEST_LEASES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleGroup:
    """A claimed group: looks that became due between two times are to be made, in seconds since 1970."""

    group_id: int
    checked_at: float
    claimed_at: float
    lease_epoch: int

    @property
    def mailbox_ids(self) -> range:
        """The ids of its mailboxes, as far as there are such."""
        return range(self.group_id * GROUP_SIZE, (self.group_id + 1) * GROUP_SIZE)

    def rounds(self, round_seconds: float) -> tuple[float, int]:
        """Return the number of the last round whose looks are done (minus infinity: unknown), and the present one's."""
        present = self._round(self.claimed_at, round_seconds)
        if self.checked_at > self.claimed_at or math.isinf(self.checked_at):
            return -math.inf, present
        return self._round(self.checked_at, round_seconds), present

    def _round(self, at: float, round_seconds: float) -> int:
        return math.floor(at / round_seconds + self.group_id * _SPREAD)


async def add_missing(connection: Connection) -> None:
    """Add the groups of mailboxes that came since."""
    await connection.execute(
        """
        INSERT INTO idle_groups (group_id)
        SELECT generate_series(
            (SELECT coalesce(max(group_id), -1) + 1 FROM idle_groups),
            (SELECT max(mailbox_id) / $1::bigint FROM mailbox_schedule))
        ON CONFLICT DO NOTHING
        """,
        GROUP_SIZE,
    )


async def claim(
    connection: Connection, *, owner: UUID | None, round_seconds: float, lease_seconds: float
) -> IdleGroup | None:
    """Claim the group that has waited longest of those whose next round has begun; None if there is none.

    A claim without an owner ends by time alone.
    """
    row = await connection.fetchrow(
        """
        WITH due AS (
            SELECT group_id FROM idle_groups
            WHERE (lease_until IS NULL
                    OR lease_until NOT BETWEEN now() AND now() + make_interval(secs => $2::float8 * $4::float8))
                AND floor(extract(epoch FROM checked_at)::float8 / $1::float8 + group_id * $3::float8)
                    <> floor(extract(epoch FROM now())::float8 / $1::float8 + group_id * $3::float8)
            ORDER BY checked_at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        UPDATE idle_groups g
        SET lease_until = now() + make_interval(secs => $2), lease_epoch = g.lease_epoch + 1, lease_owner = $5
        FROM due WHERE g.group_id = due.group_id
        RETURNING g.group_id, g.lease_epoch, extract(epoch FROM g.checked_at)::float8 AS checked_at,
            extract(epoch FROM now())::float8 AS claimed_at
        """,
        round_seconds,
        lease_seconds,
        _SPREAD,
        _LONGEST_LEASES,
        owner,
    )
    return None if row is None else IdleGroup(**row)


async def finish(connection: Connection, group: IdleGroup, *, longest_interval: float) -> None:
    """Record that all looks that were due at the claim are done, and until when at least all were looked at."""
    await connection.execute(
        """
        UPDATE idle_groups
        SET checked_at = to_timestamp($3::float8), all_seen_at = to_timestamp($3::float8 - $4::float8),
            lease_until = NULL
        WHERE group_id = $1 AND lease_epoch = $2
        """,
        group.group_id,
        group.lease_epoch,
        group.claimed_at,
        longest_interval,
    )


async def renew(connection: Connection, group: IdleGroup, *, lease_seconds: float) -> None:
    """Keep the claim for so many seconds from now on, unless another worker has the group by now."""
    await connection.execute(
        """
        UPDATE idle_groups SET lease_until = now() + make_interval(secs => $3)
        WHERE group_id = $1 AND lease_epoch = $2 AND lease_until IS NOT NULL
        """,
        group.group_id,
        group.lease_epoch,
        lease_seconds,
    )


async def release(connection: Connection, groups: Sequence[IdleGroup]) -> None:
    """Give up claims: the looks are still to be made."""
    await connection.execute(
        """
        UPDATE idle_groups g SET lease_until = NULL
        FROM unnest($1::bigint[], $2::bigint[]) AS ours(group_id, lease_epoch)
        WHERE (g.group_id, g.lease_epoch) = (ours.group_id, ours.lease_epoch)
        """,
        [group.group_id for group in groups],
        [group.lease_epoch for group in groups],
    )
