"""The simulated time: of this process, and of Postgres's `now()`."""

import asyncio
import heapq
from datetime import UTC, datetime
from typing import Final

import asyncpg

from deploy.local.postgres import Database
from services.mail.store.connection import Connection

# Midnight in California, where Google's day begins. Seconds since 1970.
START: Final = datetime(2027, 1, 4, 8, tzinfo=UTC).timestamp()


class Clock:
    """The simulated time, for this process and for the statements of its connections."""

    def __init__(self) -> None:
        self.now = START
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved on by so much."""
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, id(woken), woken))
        await woken

    async def move(self, connection: Connection, to: float) -> None:
        """Set the time, and wake those that have waited for it."""
        self.now = max(self.now, to)
        await connection.execute("SELECT setval('simulated.clock', $1)", round(self.now * 1_000_000))
        while self._sleepers and self._sleepers[0][0] <= self.now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)


async def replace_clock(database: Database) -> None:
    """Have `now()` return the simulated time in all statements of later connections."""
    connection = await asyncpg.connect(database.dsn)
    await connection.execute(
        f"""
        CREATE SCHEMA simulated;
        CREATE SEQUENCE simulated.clock;
        CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE AS
            $$ SELECT to_timestamp(pg_sequence_last_value('simulated.clock'::regclass) / 1000000.0) $$;
        ALTER DATABASE "{database.name}" SET search_path = simulated, public, pg_catalog;
        """
    )
    await connection.close()
