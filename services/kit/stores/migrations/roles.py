"""The roles of a service's processes: they enter the database and have the privileges that they need, and no others."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import asyncpg

from services.kit.settings import Postgres
from services.kit.stores.migrations.database import create_role, quoted
from services.kit.stores.migrations.interruptions import notice_lost_client
from services.kit.stores.postgres import connect

# Others may keep tables in the database, an operator or an extension: those are not the owner's to revoke.
_OWN_TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relowner = current_user::regrole AND relkind IN ('r', 'p', 'v', 'm')
"""


@dataclass(frozen=True, slots=True)
class ProcessRole:
    """The role of a process, and its privileges by table in SQL's words: `SELECT, UPDATE (state)`."""

    database: Postgres
    privileges: Mapping[str, str]


async def ensure_roles(roles: Iterable[ProcessRole], *, owner: Postgres, administrator: Postgres) -> None:
    """Create the roles that cannot log in, as `administrator`. Idempotent. Call it before migrations."""
    missing = [
        role.database for role in roles if role.database.user != owner.user and not await _can_log_in(role.database)
    ]
    if not missing:
        return
    connection = await connect(administrator)
    try:
        for database in missing:
            await create_role(connection, database, administrator=administrator)
    finally:
        await connection.close()


async def grant_privileges(roles: Iterable[ProcessRole], *, owner: Postgres) -> None:
    """Give the roles exactly their privileges, as the owner of the tables, in one transaction. Idempotent.

    Call it after migrations. The owner itself needs none. Processes that share a role share its privileges.
    """
    by_user: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for role in roles:
        if role.database.user != owner.user:
            by_user[role.database.user].append(role.privileges)
    connection = await connect(owner)
    try:
        await notice_lost_client(connection)
        async with connection.transaction():
            # Jobs that are repeated can overlap.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('mailroom grant privileges'))")
            for user, privileges in by_user.items():
                await _grant(connection, user, database=owner.database, privileges=privileges)
    finally:
        await connection.close()


async def _can_log_in(database: Postgres) -> bool:
    try:
        connection = await connect(database)
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    except asyncpg.InsufficientPrivilegeError:
        # The password is right; only the privilege to enter this database is missing, which comes with the others.
        return True
    await connection.close()
    return True


async def _grant(
    connection: "asyncpg.Connection[asyncpg.Record]",
    user: str,
    *,
    database: str,
    privileges: Iterable[Mapping[str, str]],
) -> None:
    role = quoted(user)
    await connection.execute(f"GRANT CONNECT ON DATABASE {quoted(database)} TO {role}")
    for own in await connection.fetch(_OWN_TABLES):
        # Takes the privileges on columns, too.
        await connection.execute(f"REVOKE ALL ON {quoted(own['relname'])} FROM {role}")
    for table, wanted in chain.from_iterable(each.items() for each in privileges):
        await connection.execute(f"GRANT {wanted} ON {quoted(table)} TO {role}")
