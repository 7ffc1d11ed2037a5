"""The types with which the store is called. Every statement of the mail service is in this folder.

Its functions take a connection, so that a use case decides what shares a transaction.
"""

import asyncpg

from services.kit.stores.postgres import Connection, Pool

__all__ = ["DATABASE_LOST", "Connection", "Pool", "is_reachable"]

# What asyncpg raises when the server is gone, starting, stopping, out of connections or locks: worth trying again.
DATABASE_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InterfaceError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    # A primary that has become a standby, and statements that were prepared before a migration.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidCachedStatementError,
    # Where the server vanishes in the middle of an exchange, asyncpg finds itself in a state that it does not know.
    asyncpg.InternalClientError,
)


async def is_reachable(pool: Pool) -> bool:
    """Whether a query gets an answer."""
    try:
        async with pool.acquire(timeout=2) as connection:
            await connection.fetchval("SELECT 1", timeout=2)
    except DATABASE_LOST:
        return False
    return True
