"""The connection types of the store, and its errors that are worth a retry.

The store's functions take a connection, so that a use case decides the transaction.
"""

import asyncpg

from services.kit.stores.postgres import Connection, Pool

__all__ = ["DATABASE_LOST", "Connection", "Pool", "is_reachable"]

# asyncpg's errors when the server is down, starting or stopping, or out of connections or locks.
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
    # A primary that became a standby, and statements prepared before a migration.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidCachedStatementError,
    # asyncpg's error when the server vanishes during an exchange.
    asyncpg.InternalClientError,
)


async def is_reachable(pool: Pool) -> bool:
    """Return whether the database answers a query."""
    try:
        async with pool.acquire(timeout=2) as connection:
            await connection.fetchval("SELECT 1", timeout=2)
    except DATABASE_LOST:
        return False
    return True
