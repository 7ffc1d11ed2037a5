"""Alembic's environment for all services: it runs each migration in a transaction of its own."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, MetaData, pool
from sqlalchemy.ext.asyncio import create_async_engine

from services.kit.settings import Postgres
from services.kit.stores.postgres import database_url

# A migration that waits longer for a lock would block the service's own queries behind it.
_TIMEOUTS = {"lock_timeout": "5000", "statement_timeout": "600000", "timezone": "UTC"}


async def _execute(database: Postgres, metadata: MetaData) -> None:
    engine = create_async_engine(
        database_url(database), poolclass=pool.NullPool, connect_args={"server_settings": _TIMEOUTS}
    )
    async with engine.connect() as connection:
        await connection.run_sync(_execute_on, metadata)
        await connection.commit()
    await engine.dispose()


def _execute_on(connection: Connection, metadata: MetaData) -> None:
    _run(metadata, connection=connection, compare_type=True, compare_server_default=True)


def _run(metadata: MetaData, **options: Any) -> None:
    # Locks go with each migration, and one that builds an index concurrently can do so outside of a transaction.
    context.configure(target_metadata=metadata, transaction_per_migration=True, **options)
    with context.begin_transaction():
        context.run_migrations()


attributes = context.config.attributes
if context.is_offline_mode():
    _run(attributes["metadata"], dialect_name="postgresql", literal_binds=True)
else:
    asyncio.run(_execute(attributes["database"], attributes["metadata"]))
