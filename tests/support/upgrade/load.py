"""The work of old processes on a database, repeated while something else happens there."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import asyncpg

from services.kit.settings import Postgres
from services.kit.stores.postgres import Connection, create_pool

type Work = Callable[[Connection], Awaitable[object]]

# Processes repeat turns and reads after these, in every release.
_RETRIED = (asyncpg.InvalidCachedStatementError, asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

_LOOK_SECONDS = 0.02
_NAME = "old"
_LONGEST_WAIT = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8
    FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE waitstart IS NOT NULL AND application_name = $1
"""


class Load:
    """Works on connections of their own."""

    def __init__(self, database: Postgres) -> None:
        """`longest_wait` are the seconds for which a statement has waited for a lock."""
        self.longest_wait = 0.0
        self._database = database
        self._rounds: Counter[str] = Counter()
        self._done = asyncio.Condition()
        self._stopping = False

    @asynccontextmanager
    async def repeated(self, **works: Work) -> AsyncIterator[None]:
        """Repeat each work while the block lasts: a whole round before it, and one after it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            for name, work in works.items():
                tasks.create_task(self._repeat(name, work))
            await self._next_rounds(works)
            yield
            await self._next_rounds(works)
            self._stopping = True

    async def _next_rounds(self, names: Iterable[str]) -> None:
        # The next one to end may have begun before.
        wanted = {name: self._rounds[name] + 2 for name in names}
        async with self._done:
            await self._done.wait_for(lambda: all(self._rounds[name] >= count for name, count in wanted.items()))

    async def _repeat(self, name: str, work: Work) -> None:
        pool = await create_pool(self._database, application_name=_NAME, size=1)
        async with pool, pool.acquire() as connection:
            while not self._stopping:
                with suppress(*_RETRIED):
                    await work(connection)
                    async with self._done:
                        self._rounds[name] += 1
                        self._done.notify_all()

    async def _watch(self) -> None:
        pool = await create_pool(self._database, application_name="watch", size=1)
        async with pool, pool.acquire() as connection:
            while not self._stopping:
                self.longest_wait = max(self.longest_wait, await connection.fetchval(_LONGEST_WAIT, _NAME))
                await asyncio.sleep(_LOOK_SECONDS)
