"""A pool of connections that tells the statements."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from asyncpg.connection import LoggedQuery

from services.mail.store.connection import Connection, Pool


class LoggedPool:
    """Stands for a pool: `statements` are those of its connections, in their order."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.statements: list[str] = []

    @property
    def as_pool(self) -> Pool:
        """This object, for what takes a pool and only acquires connections."""
        return cast("Pool", self)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Yield a connection."""
        async with self._pool.acquire() as connection:
            with connection.query_logger(self._log):
                yield connection

    async def _log(self, logged: LoggedQuery) -> None:
        self.statements.append(logged.query)

    def with_text(self, *texts: str) -> list[str]:
        """Return the statements that have one of these texts."""
        return [each for each in self.statements if any(text in each for text in texts)]
