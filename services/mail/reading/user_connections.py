"""Connections to Postgres for reads, shared fairly among users."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from services.kit.fair_share import FairShare
from services.mail.store.connection import Connection, Pool

# Queries of a user at a time: a client that draws a page asks for two or three lists at once.
_PER_USER = 2
_MOST_WAITING = 100


class UserConnections:
    """The connections of a pool for queries whose cost users choose, such as searches.

    A user's many slow queries leave the pool's other connections, and the processors behind them, to other users.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._share = FairShare(
            pool.get_max_size(), per_user=_PER_USER, waiting=_MOST_WAITING, work="queries are running"
        )

    @asynccontextmanager
    async def of(self, user_id: UUID) -> AsyncIterator[Connection]:
        """Hold a connection for a query of the user. Raises AppError too_many_requests."""
        async with self._share.of(str(user_id)), self._pool.acquire() as connection:
            yield connection
