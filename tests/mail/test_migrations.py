"""The migrations, run as operators run them."""

import asyncio
import base64
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
from services.kit.stores.postgres import connect, create_pool
from services.mail.store.control import public_id_key
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


async def parameters(database: Postgres) -> dict[str, dict[str, float]]:
    """Return the storage parameters of the tables that have any."""
    connection = await connect(database)
    rows = await connection.fetch(
        "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND reloptions IS NOT NULL"
        " AND relnamespace = 'public'::regnamespace"
    )
    await connection.close()
    split = {row["relname"]: [option.split("=") for option in row["reloptions"]] for row in rows}
    return {table: {name: float(value) for name, value in options} for table, options in split.items()}


class TestMigrations:
    async def test_result_in_the_declared_tables(self, mail_database: Postgres) -> None:
        assert await differences(mail_database) == []
        assert await relations(mail_database) == set(metadata.tables)

    async def test_result_in_the_declared_storage_parameters(self, mail_database: Postgres) -> None:
        # Alembic does not compare them.
        declared = {name: table.dialect_options["postgresql"]["with"] for name, table in metadata.tables.items()}
        declared = {name: options for name, options in declared.items() if options}
        hot = {"mailbox_schedule", "mailboxes", "fetch_queue", "message_changes", "messages"}
        assert hot <= {name for name, options in declared.items() if "autovacuum_vacuum_scale_factor" in options}
        assert await parameters(mail_database) == declared

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

    async def test_leave_the_ids_of_existing_mailboxes_as_they_are(
        self, create_database: Callable[[str], Database], tmp_path: Path
    ) -> None:
        async def migrated(*arguments: str) -> None:
            done = await asyncio.to_thread(migrate, database, *arguments, directory=tmp_path)
            assert done.returncode == 0, done.stderr

        database = settings_of(create_database("mail_ids"))
        await migrated("upgrade")
        pool = await create_pool(database, application_name="migrations", size=1)
        async with pool, pool.acquire() as connection:
            assert await connection.fetchval("SELECT plain_until FROM public_id_key") == 0
            await migrated("downgrade", "0015")
            await connection.execute(
                "INSERT INTO mailboxes (account_id, provider, email, status) "
                "SELECT gen_random_uuid(), 'google', 'ada@example.com', 'active' FROM generate_series(1, 7)"
            )
            await migrated("upgrade")
            ids = await public_id_key.load(connection)
        shown = [base64.urlsafe_b64decode(ids.encode(mailbox_id, 5) + "==") for mailbox_id in (7, 107, 108)]
        plain = [mailbox_id.to_bytes(8) + (5).to_bytes(8) for mailbox_id in (7, 107, 108)]
        assert shown[:2] == plain[:2]
        assert shown[2] != plain[2]
