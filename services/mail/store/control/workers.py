"""Which workers live. Each holds a lock, named after it, for as long as its connection lasts.

When a worker is killed its connections end, and with them the lock: its leases can be taken over at once, without
waiting for their time to run out. To take one over too early would do no harm, since every transaction is fenced.
"""

from uuid import UUID

import asyncpg

from services.mail.store.connection import Connection

_LOCK = "hashtextextended(owner::text, 0)"


async def register(connection: "asyncpg.Connection[asyncpg.Record]", owner: UUID) -> None:
    """Takes the worker's lock for as long as this connection lasts."""
    await connection.fetchval(f"SELECT pg_advisory_lock({_LOCK}) FROM (SELECT $1::uuid AS owner) me", owner)
    await connection.execute("INSERT INTO workers (owner) VALUES ($1) ON CONFLICT DO NOTHING", owner)


async def free_leases_of_dead(connection: Connection) -> list[UUID]:
    """Ends the leases of workers whose lock is gone, and forgets those workers; returns them."""
    async with connection.transaction():
        rows = await connection.fetch(f"SELECT owner FROM workers WHERE pg_try_advisory_xact_lock({_LOCK})")
        dead = [row["owner"] for row in rows]
        if dead:
            await connection.execute(
                "UPDATE mailbox_schedule SET lease_until = now() WHERE lease_owner = ANY($1::uuid[])", dead
            )
            await connection.execute("DELETE FROM workers WHERE owner = ANY($1::uuid[])", dead)
    return dead
