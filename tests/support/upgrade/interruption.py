"""A database in which migrations stop at each statement once, so that they can be killed there."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from deploy.local import placement
from deploy.local.postgres import Database

# Stops are where a migration ends a transaction of its own or its record is written, and a part of all others. What a
# stopped statement does is rolled back with it, so another session writes down where migrations have stopped.
_INSTALL = r"""
    CREATE SCHEMA stops;
    CREATE TABLE stops.seen (statement text NOT NULL);
    CREATE FUNCTION stops.stop() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        IF (current_query() ~ 'CONCURRENTLY|DO \$|alembic_version' OR hashtext(current_query()) % 16 = 0)
            AND NOT EXISTS (SELECT FROM stops.seen WHERE statement = current_query())
        THEN PERFORM pg_sleep(600); END IF;
    END $$;
    CREATE FUNCTION stops.at_definition() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM stops.stop();
    END $$;
    CREATE FUNCTION stops.at_record() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM stops.stop();
        RETURN NULL;
    END $$;
    CREATE TRIGGER stop BEFORE INSERT OR UPDATE OR DELETE ON alembic_version EXECUTE FUNCTION stops.at_record();
    CREATE EVENT TRIGGER stop ON ddl_command_start EXECUTE FUNCTION stops.at_definition();
"""
_STOPPED = """
    SELECT pid, query FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep' AND NOT pid = ANY ($1)
"""
# Seconds.
_PAUSE = 0.1


@dataclass
class Site:
    """A service's database on a server of its own, and the operator who upgrades it."""

    database: Database
    service: str
    directory: Path
    stopped: list[int] = field(default_factory=list)

    def upgrade(self) -> "subprocess.Popen[str]":
        """Start the service's migrations, in a directory without a .env."""
        server, prefix = self.database.server, f"{self.service.upper()}_POSTGRES"
        roles = {f"{prefix}_USER": "service", "WORKER_POSTGRES_USER": "worker", "DELIVERER_POSTGRES_USER": "deliverer"}
        owner = {f"{prefix}_OWNER": server.user, f"{prefix}_OWNER_PASSWORD": server.password}
        return subprocess.Popen(
            [sys.executable, "-m", f"services.{self.service}.migrations", "upgrade"],
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"], f"{prefix}_DB": self.database.name, **server.environment(), **owner, **roles
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    async def execute(self, script: str) -> None:
        """Execute statements over a connection of their own."""
        connection = await asyncpg.connect(self.database.dsn)
        try:
            await connection.execute(script)
        finally:
            await connection.close()

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Return the rows of a query, sent over a connection of its own."""
        connection = await asyncpg.connect(self.database.dsn)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def install_stops(self) -> None:
        """Have migrations stop at statements that are not written down yet."""
        await self.execute(_INSTALL)

    async def next_stop(self, process: "subprocess.Popen[str]") -> str | None:
        """Wait until the migrations stop; return the statement, written down, or None when they have ended."""
        while process.poll() is None:
            for pid, statement in await self.fetch(_STOPPED, self.stopped):
                self.stopped.append(pid)
                await self.fetch("INSERT INTO stops.seen VALUES ($1)", statement)
                return str(statement)
            await asyncio.sleep(_PAUSE)
        return None

    def definitions(self) -> str:
        """Return what defines the tables, their indexes and privileges."""
        server = self.database.server
        dumped = subprocess.run(
            [
                placement.installed_program() / "pg_dump", "--schema-only", "--schema=public", "--restrict-key=x",
                "--exclude-table=alembic_version", self.database.name,
            ],
            env={
                "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user, "PGPASSWORD": server.password
            },
            check=True,
            capture_output=True,
            text=True,
        )  # fmt: skip
        return dumped.stdout
