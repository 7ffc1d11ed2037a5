"""Removing what is cached of mailboxes that were disconnected, whichever process was asked to disconnect them."""

import asyncio

import structlog

from services.mail.downloads.contents import mailbox_of_key
from services.mail.downloads.disk_cache import DiskCache
from services.mail.store import mailboxes
from services.mail.store.connection import DATABASE_LOST, Pool

EVERY_SECONDS = 30.0

log = structlog.get_logger()


async def keep_removing(pool: Pool, cache: DiskCache) -> None:
    """Removes them every so many seconds until it is cancelled."""
    while True:
        try:
            await remove_leftovers(pool, cache)
        except DATABASE_LOST as error:
            log.warning("cached contents not compared with mailboxes", error=type(error).__name__)
        await asyncio.sleep(EVERY_SECONDS)


async def remove_leftovers(pool: Pool, cache: DiskCache) -> None:
    """Removes what is cached of mailboxes that nobody has any more."""
    keys = {key: mailbox_of_key(key) for key in cache.all_keys()}
    if not keys:
        return
    async with pool.acquire() as connection:
        kept = await mailboxes.connected(connection, sorted(set(keys.values())))
    gone = [key for key, mailbox_id in keys.items() if mailbox_id not in kept]
    await asyncio.to_thread(cache.drop, gone)
