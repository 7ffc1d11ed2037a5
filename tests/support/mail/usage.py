"""What processes have counted of mailboxes."""

from services.mail.model import Measure
from services.mail.store.connection import Pool
from services.mail.store.control.usage import ALL_MAILBOXES


async def counted(pool: Pool, measure: Measure) -> int:
    """Return the count of the application, of all hours together: one can end within a test."""
    found = await pool.fetchval(
        f"SELECT coalesce(sum({measure}), 0)::bigint FROM usage_hours WHERE account_id = $1",  # noqa: S608 - a column
        ALL_MAILBOXES,
    )
    return int(found)
