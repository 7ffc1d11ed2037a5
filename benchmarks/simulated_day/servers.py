"""Postgres and Valkey of a simulation, with the counters that are read from them."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import asyncpg
from redis.asyncio import Redis

from benchmarks.process_cpu import cpu_seconds
from benchmarks.simulated_day.day import Day
from deploy.local.postgres import Database, PostgresAddress
from services.mail.store.connection import Connection, Pool

DATABASE: Final = "mail"
POOL_SIZE: Final = 12


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of Postgres and of processes."""

    checks: int
    written: int
    wal: int
    postgres: float
    own: float
    valkey: float

    def since(self, before: "Counted") -> dict[str, float]:
        """Return the rows, bytes and milliseconds of a check."""
        checks = self.checks - before.checks
        return {
            "rows": (self.written - before.written) / checks,
            "wal_bytes": (self.wal - before.wal) / checks,
            "postgres_ms": (self.postgres - before.postgres) * 1000 / checks,
            "valkey_ms": (self.valkey - before.valkey) * 1000 / checks,
            "process_ms": (self.own - before.own) * 1000 / checks,
        }


@dataclass(frozen=True, slots=True)
class Servers:
    """Connections to Postgres and Valkey, and the process ids of both."""

    pool: Pool
    connection: Connection
    redis: Redis
    postgres_pid: int
    valkey_pid: int

    async def count(self, day: Day) -> Counted:
        """Read all counters."""
        await asyncio.gather(*(self._flush() for _ in range(POOL_SIZE)))
        row = await self.connection.fetchrow(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint AS written, "
            "pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal FROM pg_stat_user_tables"
        )
        assert row is not None
        times = os.times()
        return Counted(
            checks=day.units.checks,
            written=row["written"],
            wal=row["wal"],
            postgres=cpu_seconds(self.postgres_pid),
            own=times.user + times.system,
            valkey=cpu_seconds(self.valkey_pid),
        )

    async def _flush(self) -> None:
        """Have a connection report its counters; together, all do."""
        async with self.pool.acquire() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            await asyncio.sleep(0.2)


def create_database(server: PostgresAddress) -> Database:
    """Create mail's database with its tables."""
    asyncio.run(_create(server))
    variables = {
        "MAIL_POSTGRES_HOST": server.host,
        "MAIL_POSTGRES_PORT": str(server.port),
        "MAIL_POSTGRES_USER": server.user,
        "MAIL_POSTGRES_PASSWORD": server.password,
        "MAIL_POSTGRES_DB": DATABASE,
    }
    subprocess.run(
        [sys.executable, "-m", "services.mail.migrations", "upgrade"],
        env=os.environ | variables,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return Database(server=server, name=DATABASE)


async def _create(server: PostgresAddress) -> None:
    connection = await asyncpg.connect(
        host=server.host, port=server.port, user=server.user, password=server.password, database="postgres"
    )
    await connection.execute(
        f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8' "
        "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    await connection.close()
