"""Transactions of a turn, fenced by its lease."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.mail.store.connection import Connection, Pool
from services.mail.store.control import leases
from services.mail.store.control.leases import Lease


class FencedTransactions:
    """The transactions of a turn, its steps' and its session's.

    `newest_hint` is the latest hint that one of them has seen. `has_saved` says whether one was committed.
    """

    def __init__(self, pool: Pool, lease: Lease) -> None:
        self.pool = pool
        self.lease = lease
        self.newest_hint = lease.hint_seq
        self.has_saved = False

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Connection]:
        """Open a transaction that commits only while the lease is held. Raises LeaseLostError."""
        async with self.pool.acquire() as connection, connection.transaction():
            self.newest_hint = await leases.fence(connection, self.lease)
            yield connection
        self.has_saved = True
