"""Retention of the records that outlive mailboxes and users."""

from datetime import timedelta
from functools import partial

from services.kit.periodic import PeriodicTask
from services.mail.store.connection import Pool
from services.mail.store.control import erasures

# Seconds.
INTERVAL = 3600.0
# Records per statement.
_BATCH = 5_000


def retention_task(pool: Pool, keep: timedelta) -> PeriodicTask:
    """Return the task that deletes records of disconnections and of users' deletions which ended before `keep`."""
    return PeriodicTask("forget disconnections", INTERVAL, partial(forget_ended, pool, keep))


async def forget_ended(pool: Pool, keep: timedelta, *, batch: int = _BATCH) -> None:
    """Delete the records that are older than `keep`, in batches."""
    forgotten = batch
    while forgotten >= batch:
        async with pool.acquire() as connection:
            forgotten = await erasures.forget_ended(connection, older_than=keep, limit=batch)
