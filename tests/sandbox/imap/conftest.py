"""A sandbox with IMAP servers for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.sandbox.imap_servers import Connection, Servers, open_servers


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    """Both servers, without mail."""
    async with open_servers() as servers:
        yield servers


@pytest.fixture
async def yandex(servers: Servers) -> AsyncIterator[Connection]:
    """A connection to the server that looks like Yandex."""
    async with servers.connection("yandex") as connection:
        yield connection


@pytest.fixture
async def modern(servers: Servers) -> AsyncIterator[Connection]:
    """A connection to the server that looks like a modern one."""
    async with servers.connection("modern") as connection:
        yield connection
