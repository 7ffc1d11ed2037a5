"""Statements that read rows in the order of an index, whatever statistics know of a mailbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.mail.store.connection import Connection


@asynccontextmanager
async def index_order(connection: Connection) -> AsyncIterator[None]:
    """Have the planner sort nothing during the block: of several indexes only one has the order of a statement.

    Statistics know nothing of a new mailbox, and while a database has few of them the planner expects no rows of it.
    All indexes that begin with the mailbox then cost about the same, and the wrong one reads all of its rows each time.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL enable_sort = off")
        yield
