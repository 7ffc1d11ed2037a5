"""The migrations' command, with the migrations of a service that exists only here."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import MetaData

from deploy.local.postgres import Database
from deploy.migration_lint import problems_of
from services.kit.settings import Postgres
from services.kit.stores.migrations.command import main

TABLE = """
from alembic import op
revision, down_revision = "0001", None

def upgrade():
    op.execute("CREATE TABLE mails (size int)")
"""
INDEX = """
from alembic import op
revision, down_revision = "0002", "0001"

def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("ix", "mails", ["size"], if_not_exists=True, postgresql_concurrently=True)
"""
SETTINGS = """
from alembic import op
revision, down_revision = "0003", "0002"

def upgrade():
    op.execute("CREATE TABLE seen AS SELECT name, setting FROM pg_settings WHERE name LIKE '%_timeout'")
"""
COLUMN = """
from alembic import op
revision, down_revision = "0002", "0001"

def upgrade():
    op.execute("ALTER TABLE busy ADD COLUMN colour text")
"""
RUN = """
import sys
from pathlib import Path
from pydantic import SecretStr
from sqlalchemy import MetaData
from services.kit.stores.migrations.command import main
from services.kit.settings import Postgres

host, port, user, password, name, versions, *arguments = sys.argv[1:]
database = Postgres(host=host, port=port, user=user, password=SecretStr(password), database=name)
main(arguments, versions=Path(versions), metadata=MetaData(), owner=database, administrator=database)
"""
RELEASES = {"0001_table": TABLE, "0002_index": INDEX, "0003_settings": SETTINGS}


@pytest.fixture
def database(create_database: Callable[[str], Database]) -> Database:
    return create_database("migrations")


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """The folder of a service with three migrations."""
    for name, source in RELEASES.items():
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


def attempt(database: Database, versions: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the migrations in that folder."""
    return subprocess.run(
        _command(database, versions, *arguments), capture_output=True, text=True, check=False, timeout=240
    )


def _command(database: Database, versions: Path, *arguments: str) -> list[str]:
    server = database.server
    where = (server.host, str(server.port), server.user, server.password, database.name, str(versions))
    return [sys.executable, "-c", RUN, *where, *arguments]


def start(database: Database, versions: Path) -> "subprocess.Popen[str]":
    """Begins to apply the migrations in that folder."""
    return subprocess.Popen(_command(database, versions, "upgrade"), stdout=subprocess.PIPE, text=True)


def run(database: Database, versions: Path, *arguments: str) -> str:
    """The output of a command that succeeds."""
    done = attempt(database, versions, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(database: Database, versions: Path, *arguments: str) -> str | int | None:
    """The exit status of a command that ends before it opens a database, or its message; without a process."""
    server = database.server
    owner = Postgres(
        host=server.host,
        port=server.port,
        user=server.user,
        password=SecretStr(server.password),
        database=database.name,
    )
    with pytest.raises(SystemExit) as ended:
        main(list(arguments), versions=versions, metadata=MetaData(), owner=owner, administrator=owner)
    return ended.value.code


async def _lost_a_lock(database: Database, table: str) -> None:
    """Wait until a session has begun to wait for the table, and then no longer does."""
    connection = await asyncpg.connect(database.dsn)
    waits = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"  # noqa: S608 - a constant
    try:
        for waiting in (1, 0):
            while await connection.fetchval(waits) != waiting:
                pass
    finally:
        await connection.close()


async def _revision(database: Database) -> str | None:
    connection = await asyncpg.connect(database.dsn)
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    finally:
        await connection.close()
    return revision


class TestUpgrade:
    async def test_gives_up_on_locks_soon_and_may_build_indexes_beside_others(
        self, database: Database, versions: Path
    ) -> None:
        run(database, versions, "upgrade")
        connection = await asyncpg.connect(database.dsn)
        try:
            assert await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix'::regclass")
            timeouts = {row["name"]: row["setting"] for row in await connection.fetch("SELECT * FROM seen")}
        finally:
            await connection.close()
        assert (timeouts["lock_timeout"], timeouts["statement_timeout"]) == ("400", "600000")

    async def test_repeats_a_migration_until_its_table_is_free_and_keeps_those_before(
        self, database: Database, versions: Path
    ) -> None:
        (versions / "0002_index.py").write_text(INDEX.replace("0002", "0003").replace("0001", "0002"))
        (versions / "0002_index.py").rename(versions / "0003_index.py")
        (versions / "0003_settings.py").unlink()
        (versions / "0002_column.py").write_text(COLUMN)
        connection = await asyncpg.connect(database.dsn)
        try:
            await connection.execute("CREATE TABLE busy (size int)")
            await connection.execute("BEGIN; SELECT FROM busy")
            upgrading = asyncio.create_task(asyncio.to_thread(attempt, database, versions, "upgrade"))
            await _lost_a_lock(database, "busy")
            assert await _revision(database) == "0001"
            await connection.execute("COMMIT")
            done = await upgrading
        finally:
            await connection.close()
        assert done.returncode == 0, done.stderr
        assert "a table is in use: trying again\n" in done.stdout
        assert await _revision(database) == "0003"

    async def test_waits_for_one_that_is_at_work(self, database: Database, versions: Path) -> None:
        connection = await asyncpg.connect(database.dsn)
        try:
            await connection.execute("SELECT pg_advisory_lock(hashtext('mailroom migrations'))")
            waiting = start(database, versions)
            assert waiting.stdout is not None
            told = await asyncio.to_thread(waiting.stdout.readline)
            assert await connection.fetchval("SELECT to_regclass('mails')") is None
        finally:
            await connection.close()
        await asyncio.to_thread(waiting.communicate)
        assert (told, waiting.returncode) == ("another upgrade is at work: waiting for its end\n", 0)

    async def test_after_a_rollback_leaves_the_tables_of_the_later_release(
        self, database: Database, versions: Path
    ) -> None:
        run(database, versions, "upgrade")
        (versions / "0003_settings.py").unlink()
        printed = run(database, versions, "upgrade")
        assert printed == "the database is a later release's, which suits this one: left as it is\n"
        connection = await asyncpg.connect(database.dsn)
        try:
            assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0003"
        finally:
            await connection.close()


# Fails if rows are doubled, or if its statement is limited as others are.
LIMITED_INDEX = """
from alembic import op
revision, down_revision = "0002", "0001"

def upgrade():
    op.execute('''
        CREATE OR REPLACE FUNCTION limited(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('statement_timeout') <> '0' OR current_setting('lock_timeout') <> '10min' THEN
                RAISE 'limited to %, %', current_setting('statement_timeout'), current_setting('lock_timeout');
            END IF;
            RETURN $1;
        END $$
    ''')
    with op.get_context().autocommit_block():
        op.execute("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ix ON mails (limited(size))")
"""


class TestConcurrentIndex:
    async def test_has_the_time_that_a_large_table_takes_and_is_built_anew_after_a_failure(
        self, database: Database, versions: Path
    ) -> None:
        (versions / "0002_index.py").unlink()
        (versions / "0003_settings.py").unlink()
        run(database, versions, "upgrade")
        (versions / "0002_index.py").write_text(LIMITED_INDEX)
        (versions / "0003_settings.py").write_text(SETTINGS)
        connection = await asyncpg.connect(database.dsn)
        try:
            await connection.execute("INSERT INTO mails VALUES (1), (1)")
            assert "could not create unique index" in attempt(database, versions, "upgrade").stderr
            valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix'::regclass"
            assert not await connection.fetchval(valid)
            await connection.execute("TRUNCATE mails; INSERT INTO mails VALUES (1), (2)")
            run(database, versions, "upgrade")
            assert await connection.fetchval(valid)
            # Later statements are limited again.
            limit = "SELECT setting FROM seen WHERE name = 'statement_timeout'"
            assert await connection.fetchval(limit) == "600000"
        finally:
            await connection.close()

    async def test_of_a_killed_process_is_given_up_by_the_server_and_built_anew(
        self, database: Database, versions: Path
    ) -> None:
        (versions / "0003_settings.py").unlink()
        (versions / "0002_index.py").rename(versions / "index")
        run(database, versions, "upgrade")
        (versions / "index").rename(versions / "0002_index.py")
        watching, before = [await asyncpg.connect(database.dsn) for _ in range(2)]
        try:
            # The index waits for the end of transactions that began before it.
            await before.execute("BEGIN; LOCK TABLE mails IN ROW EXCLUSIVE MODE")
            killed = start(database, versions)
            unfinished = "SELECT indexrelid FROM pg_index WHERE NOT indisvalid"
            while (index := await watching.fetchval(unfinished)) is None:
                pass
            killed.kill()
            killed.communicate()
            building = "SELECT 1 FROM pg_stat_progress_create_index WHERE datname = current_database()"
            while await watching.fetchval(building):
                pass
            await before.execute("COMMIT")
            await asyncio.to_thread(run, database, versions, "upgrade")
            valid = "SELECT indexrelid FROM pg_index WHERE indexrelid = 'ix'::regclass AND indisvalid"
            assert await watching.fetchval(valid) not in (None, index)
            assert await _revision(database) == "0002"
        finally:
            await before.close()
            await watching.close()


class TestSql:
    async def test_prints_the_statements_of_an_upgrade(self, database: Database, versions: Path) -> None:
        sql = run(database, versions, "sql", "0001")
        assert "CREATE TABLE mails" not in sql
        assert "COMMIT;\n\nCREATE INDEX CONCURRENTLY IF NOT EXISTS ix ON mails (size);\n\nBEGIN;" in sql
        assert problems_of(sql) == ""
        connection = await asyncpg.connect(database.dsn)
        try:
            assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        finally:
            await connection.close()

    def test_keeps_migrations_apart_so_that_a_table_of_an_earlier_one_counts_as_full(
        self, database: Database, versions: Path
    ) -> None:
        (versions / "0002_index.py").write_text(INDEX.replace("if_not_exists=True, postgresql_concurrently=True", ""))
        assert "require-concurrent-index-creation" in problems_of(run(database, versions, "sql", "base"))


class TestNumbers:
    def test_that_two_branches_gave_are_refused_in_one_line(self, database: Database, versions: Path) -> None:
        (versions / "0002_of_another_branch.py").write_text(INDEX)
        done = attempt(database, versions, "upgrade")
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "not numbered 0001, 0002 and so on, each once" in line
        for command in (["revision", "add a column"], ["sql", "0001"]):
            assert str(refusal(database, versions, *command)) == line

    def test_that_leave_a_gap_are_refused(self, database: Database, versions: Path) -> None:
        (versions / "0002_index.py").unlink()
        assert "not numbered" in str(refusal(database, versions, "upgrade"))


class TestMessage:
    @pytest.mark.parametrize("message", ["", "...", 'say """', "a\\n", "two\nlines"])
    def test_that_makes_no_docstring_or_name_is_refused(
        self, database: Database, versions: Path, message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert refusal(database, versions, "revision", message) == 2
        assert "one line of words" in capsys.readouterr().err
        assert {path.stem for path in versions.glob("*.py")} == set(RELEASES)
