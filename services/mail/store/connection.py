"""The types with which the store is called. Every statement of the mail service is in this folder.

Its functions take a connection, so that a use case decides what shares a transaction.
"""

import asyncpg

from services.kit.postgres import Connection, Pool

__all__ = ["Connection", "Pool", "is_reachable"]


async def is_reachable(pool: Pool) -> bool:
    """Whether a query gets an answer."""
    try:
        async with pool.acquire(timeout=2) as connection:
            await connection.fetchval("SELECT 1", timeout=2)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True
