"""What applications and mailboxes use by the hour. Hours are those of UTC, by Postgres's clock."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from uuid import UUID

from services.mail.model import Measure, UsageHour
from services.mail.store.connection import Connection

KEPT = timedelta(days=7)
# The account in the rows of an application as a whole.
ALL_MAILBOXES = UUID(int=0)

_HOUR = "date_trunc('hour', now(), 'UTC')"
_COLUMNS = ", ".join(Measure)
_SUMS = ", ".join(f"sum({measure})::bigint AS {measure}" for measure in Measure)
_ADDED = ", ".join(f"{measure} = u.{measure} + excluded.{measure}" for measure in Measure)
_SHOWN = ", ".join(f"coalesce({measure}, 0) AS {measure}" for measure in Measure)
_PARAMETERS = ", ".join(f"${number}::bigint[]" for number in range(3, len(Measure) + 3))


async def add(connection: Connection, counted: Mapping[int, Mapping[Measure, int]]) -> None:
    """Add what was counted of mailboxes, by their ids, to the present hour: of each mailbox and of its application.

    Mailboxes that are erased are left out. Rows are locked in one order, so that processes do not block each other.
    """
    await connection.execute(
        f"""
        INSERT INTO usage_hours AS u (application_id, account_id, hour, {_COLUMNS})
        SELECT application_id, coalesce(account_id, $1) AS account, {_HOUR}, {_SUMS}
        FROM unnest($2::bigint[], {_PARAMETERS}) AS c (mailbox_id, {_COLUMNS}) JOIN mailboxes m USING (mailbox_id)
        GROUP BY GROUPING SETS ((application_id, account_id), (application_id))
        ORDER BY application_id, account
        ON CONFLICT (application_id, account_id, hour) DO UPDATE SET {_ADDED}
        """,
        ALL_MAILBOXES,
        list(counted),
        *([counts.get(measure, 0) for counts in counted.values()] for measure in Measure),
    )


async def of_application(
    connection: Connection, application_id: UUID, *, account_ids: Collection[UUID] | None, hours: int
) -> list[UsageHour]:
    """Return the last hours, the present one included, oldest first; of all mailboxes if `account_ids` is None."""
    rows = await connection.fetch(
        f"""
        WITH used AS (
            SELECT hour, {_SUMS} FROM usage_hours
            WHERE application_id = $1 AND account_id = ANY($2::uuid[])
                AND hour > {_HOUR} - make_interval(hours => $3)
            GROUP BY hour
        )
        SELECT h.hour, {_SHOWN}
        FROM generate_series({_HOUR} - make_interval(hours => $3 - 1), {_HOUR}, interval '1 hour') AS h (hour)
        LEFT JOIN used USING (hour) ORDER BY h.hour
        """,
        application_id,
        [ALL_MAILBOXES] if account_ids is None else list(account_ids),
        hours,
    )
    return [UsageHour(hour=row["hour"], counts={measure: row[measure.value] for measure in Measure}) for row in rows]


async def forget(connection: Connection, *, limit: int) -> int:
    """Delete up to `limit` rows of hours that are not kept any more; return how many were deleted."""
    done = await connection.execute(
        """
        DELETE FROM usage_hours WHERE (application_id, account_id, hour) IN (
            SELECT application_id, account_id, hour FROM usage_hours WHERE hour < now() - $1::interval LIMIT $2)
        """,
        KEPT,
        limit,
    )
    return int(done.removeprefix("DELETE "))
