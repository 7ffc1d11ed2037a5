"""The migrations, run as operators run them."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from deploy.local.postgres import Database
from services.kit.settings import Postgres
from services.kit.stores.engine import database_url
from services.mail.store.tables import metadata
from tests.mail.conftest import migrate, settings_of


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


async def differences(database: Postgres) -> list[Any]:
    """Return the changes that a new migration would contain."""
    engine = create_async_engine(database_url(database))
    async with engine.connect() as connection:
        found = await connection.run_sync(_differences)
    await engine.dispose()
    return found


async def relations(database: Postgres) -> set[str]:
    """Return the tables of the service."""
    engine = create_async_engine(database_url(database))
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        names = {str(name) for (name,) in rows}
    await engine.dispose()
    return names - {"alembic_version"}


class TestMigrations:
    async def test_result_in_the_declared_tables(self, mail_database: Postgres) -> None:
        assert await differences(mail_database) == []
        assert await relations(mail_database) == set(metadata.tables)

    async def test_can_be_reverted_and_repeated(
        self, create_database: Callable[[str], Database], tmp_path: Path
    ) -> None:
        database = settings_of(create_database("mail_migrations"))
        for arguments in (["upgrade"], ["downgrade", "base"]):
            done = await asyncio.to_thread(migrate, database, *arguments, directory=tmp_path)
            assert done.returncode == 0, done.stderr
        assert await relations(database) == set()
        done = await asyncio.to_thread(migrate, database, "upgrade", directory=tmp_path)
        assert done.returncode == 0, done.stderr
        assert await differences(database) == []
