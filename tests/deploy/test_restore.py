"""`deploy/restore` replaces databases as a whole or not at all, and keeps those that it replaced."""

import fcntl
import os
import secrets
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from deploy.local import placement
from deploy.local.postgres import PostgresAddress

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = ("auth", "mail")


@dataclass(frozen=True, slots=True)
class Server:
    """A server with the databases of both services, which hold one number each, and its operator."""

    address: PostgresAddress
    base: str

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the operator."""
        address = self.address
        connection = {
            "PGHOST": address.host, "PGPORT": str(address.port), "PGUSER": address.user, "PGPASSWORD": address.password,
        }  # fmt: skip
        path = f"{placement.installed_program()}:{os.environ['PATH']}"
        environment = {"PATH": path, "POSTGRES_DB": self.base, **connection, **variables}
        return subprocess.run(
            [DEPLOY / script, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    async def connect(self, database: str = "postgres") -> "asyncpg.Connection[asyncpg.Record]":
        """Connect as administrator."""
        address = self.address
        return await asyncpg.connect(
            host=address.host, port=address.port, user=address.user, password=address.password, database=database
        )

    async def execute(self, statement: str, *values: str, database: str = "postgres") -> list[str]:
        """Execute a statement; return the first column of its rows as text."""
        connection = await self.connect(database)
        try:
            return [str(row[0]) for row in await connection.fetch(statement, *values)]
        finally:
            await connection.close()

    async def make(self) -> None:
        """Create roles and databases with the number 1."""
        for service in SERVICES:
            name = f"{self.base}_{service}"
            await self.execute(f"CREATE ROLE {name} LOGIN")
            await self.execute(
                f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0 ENCODING 'UTF8' "
                "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
            )
            await self.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
            await self.execute(f"ALTER ROLE {name} IN DATABASE {name} SET lock_timeout = '7s'")
            await self.execute("CREATE TABLE numbers AS SELECT 1 AS number", database=name)
            # Enough to cut off.
            await self.execute(
                "CREATE TABLE filling AS SELECT md5(i::text) FROM generate_series(1, 5000) i", database=name
            )

    async def change(self) -> None:
        """Write the number 2."""
        for service in SERVICES:
            await self.execute("UPDATE numbers SET number = 2", database=f"{self.base}_{service}")

    async def databases(self) -> list[str]:
        """Return the names of the databases, kept ones included."""
        return await self.execute("SELECT datname FROM pg_database WHERE datname LIKE $1 || '%'", self.base)

    async def numbers(self) -> dict[str, int]:
        """Return the number in each database by its suffix, kept ones included."""
        found = {}
        for name in await self.databases():
            [number] = await self.execute("SELECT number FROM numbers", database=name)
            found[name.removeprefix(f"{self.base}_")] = int(number)
        return found

    async def properties(self) -> list[str]:
        """Return owner, locale, rights and settings of both databases."""
        return await self.execute(
            """
            SELECT (datname, pg_get_userbyid(datdba), datlocprovider, datlocale, datacl, setconfig)::text
            FROM pg_database d LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid
            WHERE datname IN ($1 || '_auth', $1 || '_mail') ORDER BY datname
            """,
            self.base,
        )


@asynccontextmanager
async def _server(address: PostgresAddress) -> AsyncIterator[Server]:
    server = Server(address, f"restored_{secrets.token_hex(4)}")
    await server.make()
    try:
        yield server
    finally:
        for name in await server.databases():
            await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        for service in SERVICES:
            await server.execute(f"DROP ROLE IF EXISTS {server.base}_{service}")


@pytest.fixture
async def server(postgres_server: PostgresAddress, tmp_path: Path) -> AsyncIterator[Server]:
    """A server with the number 1 in its backup, and 2 in its databases."""
    async with _server(postgres_server) as made:
        done = made.run("backup", str(tmp_path))
        assert done.returncode == 0, done.stderr
        await made.change()
        yield made


class TestRestore:
    async def test_brings_back_rows_owner_locale_rights_and_settings(self, server: Server, tmp_path: Path) -> None:
        before = await server.properties()
        done = server.run("restore", str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert await server.numbers() == {"auth": 1, "mail": 1, "auth_before_restore": 2, "mail_before_restore": 2}
        assert await server.properties() == before
        assert "lock_timeout=7s" in before[0]

    async def test_of_one_service_leaves_the_other_alone(self, server: Server, tmp_path: Path) -> None:
        assert server.run("restore", str(tmp_path), "mail").returncode == 0
        assert await server.numbers() == {"auth": 2, "mail": 1, "mail_before_restore": 2}

    async def test_of_lost_databases_makes_them_anew(self, server: Server, tmp_path: Path) -> None:
        for service in SERVICES:
            await server.execute(f"DROP DATABASE {server.base}_{service}")
        assert server.run("restore", str(tmp_path)).returncode == 0
        assert await server.numbers() == {"auth": 1, "mail": 1}

    @pytest.mark.parametrize("damaged", SERVICES)
    async def test_of_a_truncated_dump_changes_neither_database(
        self, server: Server, tmp_path: Path, damaged: str
    ) -> None:
        dump = tmp_path / f"{damaged}.dump"
        os.truncate(dump, dump.stat().st_size * 3 // 4)
        done = server.run("restore", str(tmp_path))
        assert done.returncode == 1
        assert f"{dump} is damaged; nothing was changed" in done.stderr
        assert await server.numbers() == {"auth": 2, "mail": 2}

    async def test_that_fails_half_way_changes_neither_database_and_can_be_repeated(
        self, server: Server, tmp_path: Path
    ) -> None:
        name = f"{server.base}_mail"
        await server.execute(f"ALTER ROLE {name} RENAME TO {name}_lost")
        assert server.run("restore", str(tmp_path)).returncode != 0
        await server.execute(f"ALTER ROLE {name}_lost RENAME TO {name}")
        found = await server.numbers()
        assert (found["auth"], found["mail"]) == (2, 2)
        assert server.run("restore", str(tmp_path)).returncode == 0
        assert await server.numbers() == {"auth": 1, "mail": 1, "auth_before_restore": 2, "mail_before_restore": 2}

    async def test_is_refused_while_a_service_is_connected(self, server: Server, tmp_path: Path) -> None:
        connection = await server.connect(f"{server.base}_mail")
        done = server.run("restore", str(tmp_path))
        await connection.close()
        assert "stop the services first" in done.stderr
        assert await server.numbers() == {"auth": 2, "mail": 2}

    async def test_is_refused_while_databases_of_an_earlier_one_are_kept(self, server: Server, tmp_path: Path) -> None:
        server.run("restore", str(tmp_path))
        done = server.run("restore", str(tmp_path))
        assert (done.returncode, "is still kept" in done.stderr) == (1, True)
        assert (await server.numbers())["mail_before_restore"] == 2
        assert server.run("restore", "--forget").returncode == 0
        assert await server.numbers() == {"auth": 1, "mail": 1}
        assert server.run("restore", str(tmp_path)).returncode == 0

    async def test_can_be_undone_until_its_databases_are_forgotten(self, server: Server, tmp_path: Path) -> None:
        server.run("restore", str(tmp_path))
        done = server.run("restore", "--undo")
        assert done.returncode == 0, done.stderr
        assert await server.numbers() == {"auth": 2, "mail": 2}
        assert "nothing to undo" in server.run("restore", "--undo").stderr

    async def test_that_is_undone_or_forgotten_says_so(self, server: Server, tmp_path: Path) -> None:
        server.run("restore", str(tmp_path))
        assert server.run("restore", "--undo").stdout == "brought auth mail back as they were before the restore\n"
        server.run("restore", str(tmp_path), "mail")
        assert server.run("restore", "--forget").stdout == f"dropped {server.base}_mail_before_restore\n"

    async def test_without_room_for_the_copy_is_refused(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "mail.bytes").write_text(f"{2**60}\n")
        for arguments in ([str(tmp_path)], ["--verify", str(tmp_path)]):
            done = server.run("restore", *arguments)
            assert (done.returncode, "the disk of Postgres has" in done.stderr) == (1, True), done.stderr
        assert await server.numbers() == {"auth": 2, "mail": 2}
        # Backups of releases before tell no size.
        (tmp_path / "mail.bytes").unlink()
        assert server.run("restore", str(tmp_path)).returncode == 0

    async def test_is_refused_beside_another_one_and_not_disturbed_by_a_verification(
        self, server: Server, tmp_path: Path
    ) -> None:
        half = f"{server.base}_mail_restored"
        await server.execute(f"CREATE DATABASE {half}")
        installation = {"MAILROOM_PRODUCTION": str(tmp_path)}
        with (tmp_path / "restored.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for arguments in ([str(tmp_path)], ["--undo"], ["--forget"]):
                assert "another one is at work" in server.run("restore", *arguments, **installation).stderr
            done = server.run("restore", "--verify", str(tmp_path), **installation)
        assert (done.returncode, done.stderr) == (0, "")
        assert half in await server.databases()

    async def test_after_one_that_was_killed_takes_its_copy_away(self, server: Server, tmp_path: Path) -> None:
        await server.execute(f"CREATE DATABASE {server.base}_mail_restored")
        # In a container the program goes on when the script that started it is killed.
        outlives = await server.connect(f"{server.base}_mail_restored")
        done = server.run("restore", str(tmp_path))
        outlives.terminate()
        assert done.returncode == 0, done.stderr
        assert (await server.numbers())["mail"] == 1

    async def test_names_what_there_is_not(self, server: Server, tmp_path: Path) -> None:
        connection = await server.connect(f"{server.base}_mail")
        assert f"there is no {tmp_path}/no/auth.dump" in server.run("restore", f"{tmp_path}/no").stderr
        await connection.close()
        assert "gateway is no database of Mailroom" in server.run("restore", str(tmp_path), "gateway").stderr
        assert "name the directory of a backup" in server.run("restore", "--verify").stderr

    async def test_of_another_installations_dump_is_refused(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "mail.dump").write_bytes((tmp_path / "auth.dump").read_bytes())
        done = server.run("restore", str(tmp_path), "mail")
        assert f"is not one of the database {server.base}_mail" in done.stderr
        assert await server.numbers() == {"auth": 2, "mail": 2}


class TestVerify:
    async def test_counts_the_rows_and_leaves_nothing(self, server: Server, tmp_path: Path) -> None:
        connection = await server.connect(f"{server.base}_mail")
        done = server.run("restore", "--verify", str(tmp_path))
        await connection.close()
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "auth filling: 5000", "auth numbers: 1", "mail filling: 5000", "mail numbers: 1",
        ]  # fmt: skip
        assert await server.numbers() == {"auth": 2, "mail": 2}

    async def test_refuses_a_dump_that_cannot_be_restored(self, server: Server, tmp_path: Path) -> None:
        dump = tmp_path / "mail.dump"
        os.truncate(dump, dump.stat().st_size * 3 // 4)
        assert server.run("restore", "--verify", str(tmp_path)).returncode == 1
        assert await server.numbers() == {"auth": 2, "mail": 2}


def _contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


class TestBackup:
    async def test_that_fails_half_way_leaves_the_pair_of_before(self, server: Server, tmp_path: Path) -> None:
        before = _contents(tmp_path)
        await server.execute(f"ALTER DATABASE {server.base}_auth RENAME TO {server.base}_away")
        assert server.run("backup", str(tmp_path)).returncode != 0
        assert server.run("backup", str(tmp_path / "new")).returncode != 0
        await server.execute(f"ALTER DATABASE {server.base}_away RENAME TO {server.base}_auth")
        assert _contents(tmp_path) == before

    async def test_without_a_directory_says_how_to_name_one(self, server: Server) -> None:
        assert server.run("backup").stderr.startswith("backup: name a directory, or set MAILROOM_BACKUPS")
        # Where a timer starts it is not where a shell does.
        assert "no absolute path: backups" in server.run("backup", MAILROOM_BACKUPS="backups").stderr


class TestScheduledBackup:
    async def test_is_verified_and_makes_room_for_the_next(self, server: Server, tmp_path: Path) -> None:
        backups, metrics = tmp_path / "backups", tmp_path / "metrics"
        old, kept = backups / "2020-01-01T000000Z", backups / "notes"
        for directory in (old, kept, metrics):
            directory.mkdir(parents=True)
        os.utime(old, (0, 0))
        os.utime(kept, (0, 0))
        before = time.time()
        done = server.run("backup", MAILROOM_BACKUPS=str(backups), MAILROOM_METRICS_DIR=str(metrics))
        assert done.returncode == 0, done.stderr
        assert "mail numbers: 1" in done.stdout
        [made] = [path for path in backups.iterdir() if path != kept]
        assert {path.name for path in made.iterdir()} == {"auth.dump", "mail.dump", "auth.bytes", "mail.bytes"}
        name, _, completed = (metrics / "mailroom.prom").read_text().partition(" ")
        assert name == "mail_backup_completed_timestamp_seconds"
        assert before - 1 <= int(completed) <= time.time()
