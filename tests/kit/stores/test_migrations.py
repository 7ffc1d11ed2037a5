"""Migrations of a service that there is only here."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from deploy.local.postgres import Database
from deploy.migration_lint import problems_of

ENV = """
from services.kit.stores.migrations import run_env
from sqlalchemy import MetaData
run_env(MetaData())
"""
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
        op.create_index("ix", "mails", ["size"], postgresql_concurrently=True)
"""
SETTINGS = """
from alembic import op
revision, down_revision = "0003", "0002"

def upgrade():
    op.execute("CREATE TABLE seen AS SELECT name, setting FROM pg_settings WHERE name LIKE '%_timeout'")
"""
RUN = """
import sys
from pathlib import Path
from pydantic import SecretStr
from services.kit.stores.migrations import main
from services.kit.settings import Postgres

host, port, user, password, name, directory, *arguments = sys.argv[1:]
database = Postgres(host=host, port=port, user=user, password=SecretStr(password), database=name)
main(arguments, directory=Path(directory), database=database, administrator=database)
"""


@pytest.fixture
def database(create_database: Callable[[str], Database]) -> Database:
    return create_database("migrations")


def run(database: Database, directory: Path, *arguments: str, releases: int = 3) -> str:
    """Runs a command with the migrations of so many releases; returns what it prints."""
    (directory / "versions").mkdir()
    (directory / "env.py").write_text(ENV)
    for name, source in (("0001_table", TABLE), ("0002_index", INDEX), ("0003_settings", SETTINGS))[:releases]:
        (directory / f"versions/{name}.py").write_text(source)
    server = database.server
    where = (server.host, str(server.port), server.user, server.password, database.name, str(directory))
    done = subprocess.run(
        [sys.executable, "-c", RUN, *where, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestUpgrade:
    async def test_gives_up_on_locks_soon_and_may_build_indexes_beside_others(
        self, database: Database, tmp_path: Path
    ) -> None:
        run(database, tmp_path, "upgrade")
        connection = await asyncpg.connect(database.dsn)
        try:
            assert await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix'::regclass")
            timeouts = {row["name"]: row["setting"] for row in await connection.fetch("SELECT * FROM seen")}
        finally:
            await connection.close()
        assert (timeouts["lock_timeout"], timeouts["statement_timeout"]) == ("5000", "600000")

    async def test_after_a_rollback_leaves_what_the_later_release_made(
        self, database: Database, tmp_path: Path
    ) -> None:
        for name in ("later", "earlier"):
            (tmp_path / name).mkdir()
        run(database, tmp_path / "later", "upgrade")
        printed = run(database, tmp_path / "earlier", "upgrade", releases=2)
        assert printed == "the database is a later release's, which suits this one: left as it is\n"
        connection = await asyncpg.connect(database.dsn)
        try:
            assert await connection.fetchval("SELECT version_num FROM alembic_version") == "0003"
        finally:
            await connection.close()


class TestSql:
    async def test_is_what_an_upgrade_would_do(self, database: Database, tmp_path: Path) -> None:
        sql = run(database, tmp_path, "sql", "0001")
        assert "CREATE TABLE mails" not in sql
        assert "COMMIT;\n\nCREATE INDEX CONCURRENTLY ix ON mails (size);\n\nBEGIN;" in sql
        assert problems_of(sql) == ""
        connection = await asyncpg.connect(database.dsn)
        try:
            assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        finally:
            await connection.close()
