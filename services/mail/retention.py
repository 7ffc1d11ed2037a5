"""Retention of changes and syncs, and of the records that outlive mailboxes and users."""

from datetime import timedelta
from functools import partial

from services.kit.periodic import PeriodicTask
from services.mail.store import changes
from services.mail.store.connection import Pool
from services.mail.store.control import erasures, feed_heads, mailboxes, usage
from services.mail.store.sync import syncs

# Seconds.
INTERVAL = 3600.0
# A round looks at each mailbox, which takes Postgres 0.02 ms where nothing has expired: a second for 50,000 mailboxes.
_CHANGES_INTERVAL = 6 * 3600.0
# Records per statement: a few hundredths of a second, and as much WAL as a few batches of messages.
_BATCH = 5_000
# Ended syncs that are kept of each mailbox.
SYNCS_KEPT = 1_000
# Mailboxes for which a round keeps its connection.
_MAILBOXES = 1_000


def retention_tasks(pool: Pool, keep: timedelta) -> list[PeriodicTask]:
    """Return the tasks that delete expired changes, and records of deletions that ended before `keep`."""
    return [
        PeriodicTask("forget disconnections", INTERVAL, partial(forget_ended, pool, keep)),
        PeriodicTask("forget changes", _CHANGES_INTERVAL, partial(forget_changes, pool)),
        PeriodicTask("forget syncs", INTERVAL, partial(forget_syncs, pool)),
        PeriodicTask("forget ended feeds", INTERVAL, partial(forget_ended_feeds, pool)),
        PeriodicTask("forget usage", INTERVAL, partial(forget_usage, pool)),
    ]


async def forget_ended(pool: Pool, keep: timedelta, *, batch: int = _BATCH) -> None:
    """Delete the records that are older than `keep`, in batches."""
    forgotten = batch
    while forgotten >= batch:
        async with pool.acquire() as connection:
            forgotten = await erasures.forget_ended(connection, older_than=keep, limit=batch)


async def forget_ended_feeds(pool: Pool, *, batch: int = _BATCH) -> None:
    """Delete the heads of feeds whose mailboxes were disconnected as long ago as changes are kept, in batches."""
    forgotten = batch
    while forgotten >= batch:
        async with pool.acquire() as connection:
            forgotten = await feed_heads.forget_ended(connection, days=changes.KEPT.days, limit=batch)


async def forget_usage(pool: Pool, *, batch: int = _BATCH) -> None:
    """Delete the usage of hours that are not kept any more, in batches."""
    forgotten = batch
    while forgotten >= batch:
        async with pool.acquire() as connection:
            forgotten = await usage.forget(connection, limit=batch)


async def forget_changes(pool: Pool, *, batch: int = _BATCH, page: int = _MAILBOXES) -> None:
    """Delete the expired changes of all mailboxes, in batches.

    Writers delete those of their own mailbox (changes.RECORD). A mailbox in which nothing happens has no writer.
    """
    ids = [0]
    while ids:
        async with pool.acquire() as connection:
            ids = await mailboxes.ids_after(connection, ids[-1], limit=page)
            for mailbox_id in ids:
                while await changes.forget_expired(connection, mailbox_id, limit=batch) >= batch:
                    pass


async def forget_syncs(pool: Pool, *, keep: int = SYNCS_KEPT, batch: int = _BATCH, page: int = _MAILBOXES) -> None:
    """Delete the ended syncs of all mailboxes but the newest ones, in batches: a user can make thousands a minute."""
    ids = [0]
    while ids:
        async with pool.acquire() as connection:
            ids = await mailboxes.ids_after(connection, ids[-1], limit=page)
            for mailbox_id in ids:
                while await syncs.forget_older(connection, mailbox_id, keep=keep, limit=batch) == batch:
                    pass
