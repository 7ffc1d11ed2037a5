"""The key of public ids, from which that of page tokens is derived; the migration made it."""

from services.mail.ids import PublicIds
from services.mail.store.connection import Connection


async def load(connection: Connection) -> PublicIds:
    """Return the spelling of public ids of this database."""
    row = await connection.fetchrow("SELECT key, plain_until FROM public_id_key")
    assert row is not None, "a migration has made it"  # noqa: S101 - states what the migration guarantees
    return PublicIds(row["key"], plain_until=row["plain_until"])


async def secret(connection: Connection) -> bytes:
    """Return the key itself."""
    return bytes(await connection.fetchval("SELECT key FROM public_id_key"))
