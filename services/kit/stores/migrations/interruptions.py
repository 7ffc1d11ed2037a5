"""What lets an upgrade be repeated after its process, its connection or the server was killed.

An interrupted transaction leaves nothing. A statement with CONCURRENTLY is outside of any: it leaves an invalid index,
and the server goes on with it for hours after the process that sent it has ended.
Sources: PostgreSQL documentation, CREATE INDEX, "Building Indexes Concurrently"; client_connection_check_interval.
"""

import asyncio
import sys

import asyncpg

# Milliseconds.
_NOTICE_LOST_CLIENT = "SELECT set_config('client_connection_check_interval', '2000', false)"
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext('mailroom migrations'))"
# Seconds. An index of a large table takes hours, and the wait says once a minute that it goes on.
_PAUSE = 0.5
_TRIES_PER_LINE = 120


async def notice_lost_client(session: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Have the server end the session when its client is gone, also in the middle of a statement."""
    await session.execute(_NOTICE_LOST_CLIENT)


async def exclude_others(session: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Wait, however long, until no other session migrates the database; keep others out while this one lasts.

    Without a waiting statement, whose snapshot would keep CREATE INDEX CONCURRENTLY of the other session from its end.
    """
    tries = 0
    while not await session.fetchval(_TRY_LOCK):
        if tries % _TRIES_PER_LINE == 0:
            sys.stdout.write("another upgrade is at work: waiting for its end\n")
            sys.stdout.flush()
        tries += 1
        await asyncio.sleep(_PAUSE)


async def drop_invalid_indexes(session: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Drop the indexes that a migration began to build and did not finish, so that it can be repeated.

    One that an operator is building, in a session of another kind, is left alone.
    """
    names = await session.fetch(
        """
        SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace
            AND indexrelid NOT IN (SELECT index_relid FROM pg_stat_progress_create_index)
        """
    )
    for [name] in names:
        await session.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
