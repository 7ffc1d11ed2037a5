"""Alembic's environment for all services: it runs each migration in a transaction of its own."""

import asyncio
from typing import Any

import asyncpg
from alembic import context
from sqlalchemy import Connection, MetaData, event, pool
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from services.kit.settings import Postgres
from services.kit.stores.engine import database_url
from services.kit.stores.migrations.interruptions import drop_invalid_indexes, exclude_others, notice_lost_client

# While a migration waits for a lock, the service's own queries wait behind it: see lock_retries.py. Shorter than the
# second after which Postgres looks for a deadlock, and would end either transaction. Milliseconds.
_LIMITS = "SELECT set_config('lock_timeout', '400', false), set_config('statement_timeout', '600000', false)"
# What works concurrently blocks no queries, takes hours on large tables, and waits for transactions that began before.
_LIMITS_OF_CONCURRENT = (
    "SELECT set_config('lock_timeout', '600000', false), set_config('statement_timeout', '0', false)"
)


async def _execute(database: Postgres, metadata: MetaData) -> None:
    engine = create_async_engine(
        database_url(database), poolclass=pool.NullPool, connect_args={"server_settings": {"timezone": "UTC"}}
    )
    async with engine.connect() as connection:
        session = await _session(connection)
        await notice_lost_client(session)
        await exclude_others(session)
        await drop_invalid_indexes(session)
        await session.execute(_LIMITS)
        _limit_by_kind(connection)
        await connection.run_sync(_execute_on, metadata)
        await connection.commit()
    await engine.dispose()


async def _session(connection: AsyncConnection) -> "asyncpg.Connection[asyncpg.Record]":
    """Return the driver's connection, which is in no transaction before SQLAlchemy's first statement."""
    session: asyncpg.Connection[asyncpg.Record] | None = (await connection.get_raw_connection()).driver_connection
    assert session is not None  # noqa: S101 - the connection has just been opened
    return session


def _limit_by_kind(connection: AsyncConnection) -> None:
    """Give statements that work concurrently limits of their own."""

    def before(connection: Connection, _: object, statement: str, *__: object) -> None:
        if _is_concurrent(statement):
            _execute_raw(connection, _LIMITS_OF_CONCURRENT)

    def after(connection: Connection, _: object, statement: str, *__: object) -> None:
        if _is_concurrent(statement):
            _execute_raw(connection, _LIMITS)

    event.listen(connection.sync_connection, "before_cursor_execute", before)
    event.listen(connection.sync_connection, "after_cursor_execute", after)


def _execute_raw(connection: Connection, statement: str) -> None:
    """Execute a statement for which no event is sent."""
    cursor = connection.connection.cursor()
    cursor.execute(statement)
    cursor.close()


def _is_concurrent(statement: str) -> bool:
    return " CONCURRENTLY " in statement.upper()


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
