"""The connection types of the store, and its errors that are worth a retry.

The store's functions take a connection, so that a use case decides the transaction.
"""

import asyncpg

from services.kit.stores.postgres import Connection, Pool

__all__ = ["DATABASE_LOST", "DATA_REFUSED", "Connection", "Pool", "is_reachable", "reason_if_lost"]

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

# Errors of Postgres, or of asyncpg before it, when a row cannot hold the data: a repeat fails again. asyncpg turns all
# errors of its encoders into DataError.
DATA_REFUSED = (
    # Class 22: characters outside the encoding, numbers and times out of range, malformed JSON.
    asyncpg.DataError,
    # Class 23: a missing value, or a violated constraint.
    asyncpg.IntegrityConstraintViolationError,
    # Class 54: a tsvector, an index entry or a JSON string that is too long.
    asyncpg.ProgramLimitExceededError,
)


def reason_if_lost(error: Exception) -> str | None:
    """Return the name of an error that means that the database is away; None for any other."""
    return type(error).__name__ if isinstance(error, DATABASE_LOST) else None


async def is_reachable(pool: Pool) -> bool:
    """Return whether the database answers a query."""
    try:
        async with pool.acquire(timeout=2) as connection:
            await connection.fetchval("SELECT 1", timeout=2)
    except DATABASE_LOST:
        return False
    return True
