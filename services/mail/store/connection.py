"""The types with which the store is called. Every statement of the mail service is in this folder.

Its functions take a connection, so that a use case decides what shares a transaction.
"""

import asyncpg

from services.kit.stores.postgres import Connection, Pool

__all__ = ["DATABASE_LOST", "DATA_REFUSED", "Connection", "Pool", "is_reachable"]

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

# What Postgres raises, or asyncpg before it, where a row cannot hold the data: a repeat raises it again. asyncpg turns
# all that its encoders raise into DataError.
DATA_REFUSED = (
    # Class 22: characters outside of the encoding, numbers and times out of range, texts that are no JSON.
    asyncpg.DataError,
    # Class 23: a missing value, or one against a constraint.
    asyncpg.IntegrityConstraintViolationError,
    # Class 54: a tsvector, an index entry or a JSON string that is too long.
    asyncpg.ProgramLimitExceededError,
)


async def is_reachable(pool: Pool) -> bool:
    """Whether a query gets an answer."""
    try:
        async with pool.acquire(timeout=2) as connection:
            await connection.fetchval("SELECT 1", timeout=2)
    except DATABASE_LOST:
        return False
    return True
