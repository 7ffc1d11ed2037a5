"""Watermarks of quota: until when calls of a mailbox may run, marked before the calls, for lost counts in Redis.

A row belongs to an address at a provider and outlives its mailbox, since a reconnect does not reset the provider's
quota. The address itself is not kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.mail.store.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Mailboxes marked for many units, and for few units only, within the last window."""

    many: int
    few: int


async def mark(
    connection: Connection, mailbox_ids: Sequence[int], *, many: bool, seconds: float, within_seconds: float
) -> dict[int, Recent]:
    """Mark mailboxes for calls within the next `seconds`; return their marks within the last window."""
    rows = await connection.fetch(
        """
        WITH asked AS (
            SELECT a.mailbox_id, coalesce(
                encode(sha256(convert_to(m.provider || ' ' || lower(m.email), 'UTF8')), 'hex'),
                'mailbox ' || a.mailbox_id) AS scope
            FROM unnest($1::bigint[]) AS a(mailbox_id) LEFT JOIN mailboxes m USING (mailbox_id)
        ), marked AS (
            INSERT INTO quota_watermarks AS q (scope, few_until, many_until)
            SELECT DISTINCT scope, now() + make_interval(secs => $3),
                CASE WHEN $2 THEN now() + make_interval(secs => $3) ELSE '-infinity' END
            FROM asked ORDER BY scope
            ON CONFLICT (scope) DO UPDATE
            SET few_until = greatest(q.few_until, excluded.few_until),
                many_until = greatest(q.many_until, excluded.many_until)
        )
        SELECT a.mailbox_id, coalesce(q.many_until > now() - make_interval(secs => $4), false) AS many,
            coalesce(q.few_until > now() - make_interval(secs => $4), false) AS few
        FROM asked a LEFT JOIN quota_watermarks q USING (scope)
        """,
        mailbox_ids,
        many,
        seconds,
        within_seconds,
    )
    return {row["mailbox_id"]: Recent(many=int(row["many"]), few=int(row["few"] and not row["many"])) for row in rows}


async def count_recent(connection: Connection, *, within_seconds: float) -> Recent:
    """Count the marks within the last window."""
    [row] = await connection.fetch(
        """
        SELECT count(*) FILTER (WHERE many) AS many, count(*) FILTER (WHERE few AND NOT many) AS few
        FROM (SELECT many_until > now() - make_interval(secs => $1) AS many,
                     few_until > now() - make_interval(secs => $1) AS few FROM quota_watermarks) recent
        """,
        within_seconds,
    )
    return Recent(many=row["many"], few=row["few"])


async def forget(connection: Connection, *, older_seconds: float) -> None:
    """Delete the marks that ended more than `older_seconds` ago."""
    await connection.execute(
        "DELETE FROM quota_watermarks WHERE few_until < now() - make_interval(secs => $1)", older_seconds
    )
