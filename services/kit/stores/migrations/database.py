"""Creation of a service's database, and of roles."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from services.kit.settings import Postgres
from services.kit.stores.postgres import connect


async def ensure_database(database: Postgres, *, administrator: Postgres) -> None:
    """Create the service's database and its owner where they are missing, as `administrator`. Idempotent."""
    if await _reachable(database):
        return
    connection = await connect(administrator)
    try:
        # Two services migrate at the same time on a fresh server.
        await connection.execute("SELECT pg_advisory_lock(hashtext('mailroom create database'))")
        await create_role(connection, database, administrator=administrator)
        if database.user != administrator.user:
            # Since PostgreSQL 16 only a member may make a role the owner of a database.
            await connection.execute(f"GRANT {quoted(database.user)} TO CURRENT_USER")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database.database):
            await _create(connection, database)
    finally:
        await connection.close()


async def _create(connection: "asyncpg.Connection[asyncpg.Record]", database: Postgres) -> None:
    """Create a database that only its owner may enter.

    Its creation takes statements that no transaction can hold, so it gets its name when it is complete.
    """
    unfinished = quoted(f"{database.database}.unfinished")
    await connection.execute(f"DROP DATABASE IF EXISTS {unfinished}")
    # Plain C breaks Cyrillic, and a libc locale changes under an index with the operating system.
    await connection.execute(
        f"CREATE DATABASE {unfinished} OWNER {quoted(database.user)} TEMPLATE template0 "
        "ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
    )
    await connection.execute(f"REVOKE ALL ON DATABASE {unfinished} FROM PUBLIC")
    await connection.execute(f"ALTER DATABASE {unfinished} RENAME TO {quoted(database.database)}")


@contextmanager
def empty_database(name: str, *, administrator: Postgres) -> Iterator[Postgres]:
    """Create an empty database of the administrator's, whose name begins with `name`, and drop it at the end."""
    database = administrator.model_copy(update={"database": f"{name}_{secrets.token_hex(4)}"})
    asyncio.run(ensure_database(database, administrator=administrator))
    try:
        yield database
    finally:
        asyncio.run(_drop(database, administrator=administrator))


async def _drop(database: Postgres, *, administrator: Postgres) -> None:
    connection = await connect(administrator)
    try:
        await connection.execute(f"DROP DATABASE {quoted(database.database)}")
    finally:
        await connection.close()


async def _reachable(database: Postgres) -> bool:
    try:
        connection = await connect(database)
    except (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError):
        return False
    await connection.close()
    return True


async def create_role(
    connection: "asyncpg.Connection[asyncpg.Record]", database: Postgres, *, administrator: Postgres
) -> None:
    """Create the role of `database`, or give it the password. The administrator's own stays as it is."""
    if database.user == administrator.user:
        return
    exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", database.user)
    secret = await connection.fetchval("SELECT quote_literal($1::text)", database.password.get_secret_value())
    verb = "ALTER" if exists else "CREATE"
    await connection.execute(f"{verb} ROLE {quoted(database.user)} LOGIN PASSWORD {secret}")


def quoted(identifier: str) -> str:
    """Return an identifier as SQL takes it."""
    return '"' + identifier.replace('"', '""') + '"'
