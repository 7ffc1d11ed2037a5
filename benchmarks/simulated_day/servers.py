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
from services.mail.store.control.idle_groups import GROUP_SIZE

DATABASE: Final = "mail"
POOL_SIZE: Final = 12
_GROUPS: Final = "idle_groups"


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of Postgres and of processes."""

    checks: int
    written: int
    group_rows: int
    wal: int
    postgres: float
    own: float
    valkey: float

    def since(self, before: "Counted", *, mailboxes: int) -> dict[str, float]:
        """Return the rows, bytes and milliseconds of a check.

        A group costs as many rows however few mailboxes are in it. Rows are told as if all groups were full, so that
        they do not depend on the number of mailboxes; bytes and milliseconds are those that were measured.
        """
        checks = self.checks - before.checks
        other_rows = self.written - before.written
        group_rows = (self.group_rows - before.group_rows) * fullness(mailboxes)
        return {
            "rows": (other_rows + group_rows) / checks,
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
            "SELECT coalesce(sum(changed) FILTER (WHERE relname <> $1), 0)::bigint AS written, "
            "coalesce(sum(changed) FILTER (WHERE relname = $1), 0)::bigint AS group_rows, "
            "pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal "
            "FROM (SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS changed FROM pg_stat_user_tables) AS tables",
            _GROUPS,
        )
        assert row is not None
        times = os.times()
        return Counted(
            checks=day.units.checks,
            written=row["written"],
            group_rows=row["group_rows"],
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


def fullness(mailboxes: int) -> float:
    """Return which part of the places in groups so many mailboxes take up; the first one has the id 1."""
    return mailboxes / (GROUP_SIZE * (mailboxes // GROUP_SIZE + 1))


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
