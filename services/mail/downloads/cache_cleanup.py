"""Removal of cached contents whose messages were deleted by any process."""

import asyncio
from functools import partial
from itertools import batched

from services.kit.periodic import PeriodicTask
from services.mail.downloads.disk_cache import DiskCache
from services.mail.downloads.fetch import message_of_key
from services.mail.store.connection import Pool
from services.mail.store.reading import downloads as store

# Seconds.
INTERVAL = 30.0
# Cached contents per statement.
_AT_ONCE = 5_000


def cleanup_task(pool: Pool, cache: DiskCache) -> PeriodicTask:
    """Return the task that removes deleted messages from a process's cache."""
    return PeriodicTask("clean the cache", INTERVAL, partial(clean_cache, pool, cache))


async def clean_cache(pool: Pool, cache: DiskCache) -> None:
    """Remove the contents of messages and mailboxes that are no longer stored."""
    for keys in batched(cache.all_keys(), _AT_ONCE, strict=False):
        messages = {key: message_of_key(key) for key in keys}
        async with pool.acquire() as connection:
            kept = await store.still_stored(connection, set(messages.values()))
        gone = [key for key, message in messages.items() if message not in kept]
        await asyncio.to_thread(cache.drop, gone)
