"""Ids of lost commits: no other message, sync or mailbox gets them.

A database that lost commits (a failover to a lagging standby, a restored backup) would give out numbers again that
clients hold. So a database that has not given out the last ones skips far more of them than can have been lost.
"""

from typing import TYPE_CHECKING

import asyncpg
import structlog

if TYPE_CHECKING:
    # asyncpg's class is generic in its stubs only.
    type _NewConnection = asyncpg.Connection[asyncpg.Record]

log = structlog.get_logger()


async def skip(connection: "_NewConnection") -> None:
    """Skip lost ids, for a new connection: after a failover there is no older one. Idempotent.

    Raises CannotConnectNowError for a standby, which would be promoted with this connection, for another database than
    before that cannot be written to, and for one that is not migrated.
    """
    try:
        skipped = await connection.fetchval("SELECT skip_lost_ids()")
    except asyncpg.UndefinedFunctionError as error:
        raise asyncpg.CannotConnectNowError("the database is not migrated") from error
    match skipped:
        case None:
            raise asyncpg.CannotConnectNowError("the database is a standby, or another one and read-only")
        case True:
            log.warning("the database is another one than before: ids that it may have lost are skipped")
