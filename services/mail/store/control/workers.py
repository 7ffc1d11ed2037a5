"""Live workers. Each holds an advisory lock, named after its owner id, on a connection of its own.

The lock of a killed worker ends with its connection, so its leases can be taken over at once, before they expire. A
premature takeover does no harm: every transaction is fenced.
"""

from uuid import UUID

import asyncpg

from services.mail.store.connection import Connection

_LOCK = "hashtextextended(owner::text, 0)"


async def register(connection: "asyncpg.Connection[asyncpg.Record]", owner: UUID) -> None:
    """Take the worker's lock until the connection ends. The caller limits the time."""
    await connection.fetchval(f"SELECT pg_advisory_lock({_LOCK}) FROM (SELECT $1::uuid AS owner) me", owner)
    await connection.execute("INSERT INTO workers (owner) VALUES ($1) ON CONFLICT DO NOTHING", owner)


async def free_leases_of_dead(connection: Connection) -> list[UUID]:
    """End the leases of workers without a lock, those of mailboxes and of groups of idle ones, and delete their rows.

    Returns the owner ids of the rows it deleted.
    """
    async with connection.transaction():
        rows = await connection.fetch(f"SELECT owner FROM workers WHERE pg_try_advisory_xact_lock({_LOCK})")
        unlocked = [row["owner"] for row in rows]
        if not unlocked:
            return []
        await connection.execute(
            "UPDATE mailbox_schedule SET lease_until = now() WHERE lease_owner = ANY($1::uuid[])", unlocked
        )
        await connection.execute(
            "UPDATE idle_groups SET lease_until = NULL WHERE lease_owner = ANY($1::uuid[]) AND lease_until IS NOT NULL",
            unlocked,
        )
        # Another process can have deleted some between our snapshot and our lock.
        deleted = await connection.fetch("DELETE FROM workers WHERE owner = ANY($1::uuid[]) RETURNING owner", unlocked)
    return [row["owner"] for row in deleted]
