"""The key of public ids, which the migration made."""

from services.mail.ids import PublicIds
from services.mail.store.connection import Connection


async def load(connection: Connection) -> PublicIds:
    """Return the spelling of public ids of this database."""
    row = await connection.fetchrow("SELECT key, plain_until FROM public_id_key")
    assert row is not None, "a migration has made it"  # noqa: S101 - states what the migration guarantees
    return PublicIds(row["key"], plain_until=row["plain_until"])
