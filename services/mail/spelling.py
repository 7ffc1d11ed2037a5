"""The spelling of public ids and page tokens, once the database has told its key."""

import asyncio
from contextlib import suppress

import asyncpg
import structlog

from services.mail.ids import PublicIds
from services.mail.reading.page_tokens import PageTokens
from services.mail.store.connection import DATABASE_LOST, Pool
from services.mail.store.control import public_id_key

# Between two attempts to read from the database at the start.
_DATABASE_SECONDS = 1.0

log = structlog.get_logger()


async def spelling_of(pool: Pool, stop: asyncio.Event) -> tuple[PublicIds, PageTokens] | None:
    """Return the spelling of ids and page tokens once the database has told its key; None if `stop` is set before."""
    while not stop.is_set():
        try:
            async with pool.acquire() as connection:
                return await public_id_key.load(connection), PageTokens(await public_id_key.secret(connection))
        except (*DATABASE_LOST, asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError) as error:
            log.warning("waiting for the database; is it migrated?", error=type(error).__name__)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _DATABASE_SECONDS)
    return None
