"""Removing what is cached of messages that are gone, whichever process stored their deletion."""

import asyncio
from itertools import batched

import structlog

from services.mail.downloads.disk_cache import DiskCache
from services.mail.downloads.fetch import message_of_key
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.reading import downloads as store

EVERY_SECONDS = 30.0
# Contents that are compared by one statement.
_AT_ONCE = 5_000

log = structlog.get_logger()


async def keep_cleaning(pool: Pool, cache: DiskCache) -> None:
    """Removes them every so many seconds until it is cancelled."""
    while True:
        try:
            await clean_cache(pool, cache)
        except DATABASE_LOST as error:
            log.warning("cached contents not compared with messages", error=type(error).__name__)
        await asyncio.sleep(EVERY_SECONDS)


async def clean_cache(pool: Pool, cache: DiskCache) -> None:
    """Removes what is cached of messages that are not stored any more, and of mailboxes that nobody has."""
    for keys in batched(cache.all_keys(), _AT_ONCE, strict=False):
        messages = {key: message_of_key(key) for key in keys}
        async with pool.acquire() as connection:
            kept = await store.still_stored(connection, set(messages.values()))
        gone = [key for key, message in messages.items() if message not in kept]
        await asyncio.to_thread(cache.drop, gone)
