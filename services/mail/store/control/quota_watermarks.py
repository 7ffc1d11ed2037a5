"""Watermarks of quota: until when calls of a mailbox may run, marked before the calls, for lost counts in Redis.

A row belongs to an identity at a provider (`Mailbox.identity`) and outlives its mailbox, since a reconnect does not
reset the provider's quota.
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
    connection: Connection,
    provider: str,
    identities: Sequence[str],
    *,
    many: bool,
    seconds: float,
    within_seconds: float,
) -> dict[str, Recent]:
    """Mark mailboxes for calls within the next `seconds`; return their marks within the last window."""
    rows = await connection.fetch(
        """
        WITH marked AS (
            INSERT INTO quota_watermarks AS q (scope, provider, few_until, many_until)
            SELECT a.scope, $5, now() + make_interval(secs => $3),
                CASE WHEN $2 THEN now() + make_interval(secs => $3) ELSE '-infinity' END
            FROM unnest($1::text[]) AS a(scope) ORDER BY a.scope
            ON CONFLICT (scope) DO UPDATE
            SET provider = excluded.provider, few_until = greatest(q.few_until, excluded.few_until),
                many_until = greatest(q.many_until, excluded.many_until)
        )
        SELECT a.scope, coalesce(q.many_until > now() - make_interval(secs => $4), false) AS many,
            coalesce(q.few_until > now() - make_interval(secs => $4), false) AS few
        FROM unnest($1::text[]) AS a(scope) LEFT JOIN quota_watermarks q USING (scope)
        """,
        identities,
        many,
        seconds,
        within_seconds,
        provider,
    )
    return {row["scope"]: Recent(many=int(row["many"]), few=int(row["few"] and not row["many"])) for row in rows}


async def count_recent(connection: Connection, provider: str, *, within_seconds: float) -> Recent:
    """Count the provider's marks within the last window. Those without a provider count for each."""
    [row] = await connection.fetch(
        """
        SELECT count(*) FILTER (WHERE many) AS many, count(*) FILTER (WHERE few AND NOT many) AS few
        FROM (SELECT many_until > now() - make_interval(secs => $1) AS many,
                     few_until > now() - make_interval(secs => $1) AS few
              FROM quota_watermarks WHERE provider IN ($2, '')) recent
        """,
        within_seconds,
        provider,
    )
    return Recent(many=row["many"], few=row["few"])


async def forget(connection: Connection, *, older_seconds: float) -> None:
    """Delete the marks that ended more than `older_seconds` ago."""
    await connection.execute(
        "DELETE FROM quota_watermarks WHERE few_until < now() - make_interval(secs => $1)", older_seconds
    )
