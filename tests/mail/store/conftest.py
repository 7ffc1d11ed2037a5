"""A database with two mailboxes, for tests of the store's functions."""

from collections.abc import AsyncIterator

import pytest

from services.mail.model import Mailbox
from services.mail.store.connection import Connection, Pool
from tests.support.mail.servers import Servers
from tests.support.mail.stored import add_mailbox


@pytest.fixture
async def pool(servers: Servers) -> Pool:
    """Return the database without mailboxes."""
    await servers.empty()
    return servers.pool


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    """Yield a connection to the database."""
    async with pool.acquire() as connection:
        yield connection


@pytest.fixture
async def mailbox(connection: Connection) -> Mailbox:
    """Return a new mailbox with a sync state."""
    return await add_mailbox(connection)


@pytest.fixture
def mailbox_id(mailbox: Mailbox) -> int:
    """Return the id of the new mailbox."""
    return mailbox.mailbox_id


@pytest.fixture
async def other_id(connection: Connection) -> int:
    """Return the id of another user's mailbox, which no call for the first one may change."""
    return (await add_mailbox(connection, email="grace@example.org")).mailbox_id
